"""One job on a worker: claim, attempt, publication, outcome."""
