"""Many workers on one PostgreSQL, Redis and object store: `python -m benchmarks.scale`."""
