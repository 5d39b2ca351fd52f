"""Training after pruning: adapters or layers, by labels or a teacher (ALGORITHM section 8)."""
