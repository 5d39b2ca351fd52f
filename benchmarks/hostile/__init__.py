"""Hostile bodies against the embedded service: `python -m benchmarks.hostile`."""
