"""The example model, its training script and its demonstration."""
