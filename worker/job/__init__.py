"""One job on a worker, from its message to its end."""
