"""Proof of load and timing, each in a fresh process with a real loader."""
