"""Formats of text files, detected by content. Imports neither torch nor transformers."""
