"""Checks against versions of other software than the installed ones; run on demand."""
