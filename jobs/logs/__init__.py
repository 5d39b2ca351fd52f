"""Structured logs without secrets, paths of the machine or endless repetitions."""
