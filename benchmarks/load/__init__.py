"""Load on a running service: `python -m benchmarks.load`."""
