"""Structured logs: redaction of secrets and machine paths, rate limit."""
