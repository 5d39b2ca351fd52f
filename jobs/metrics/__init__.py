"""Prometheus metrics: registry, exposition, metrics of all jobs."""
