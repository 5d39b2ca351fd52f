"""Proof of load and timing: a fresh process, and the real loader in it."""
