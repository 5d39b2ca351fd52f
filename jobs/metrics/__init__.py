"""Metrics in the format of Prometheus, and what they say about all jobs."""
