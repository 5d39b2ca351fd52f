"""Job specification: pruning, evaluation, recovery (pydantic, frozen)."""
