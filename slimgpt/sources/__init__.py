"""Resolving model names: local roots and the Hugging Face hub."""
