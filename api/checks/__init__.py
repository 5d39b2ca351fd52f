"""Checks of a `POST /jobs` beyond its schema: sources, positions, free disk."""
