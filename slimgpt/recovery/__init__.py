"""Recovery after pruning: LoRA training, then merging the adapters."""
