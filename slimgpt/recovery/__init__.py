"""Recovery after pruning: low-rank adapters trained on text, then merged (ALGORITHM section 8)."""
