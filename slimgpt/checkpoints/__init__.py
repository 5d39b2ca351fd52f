"""Checkpoint folders: checked, read, written a layer at a time, published."""
