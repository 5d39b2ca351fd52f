"""Builds the manual: the pages of docs/ and a reference generated from code, as one static site."""
