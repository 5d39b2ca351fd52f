"""Recovery after pruning: LoRA training, then merging the adapters (ALGORITHM section 8)."""
