"""What the service has and does: models, texts, workers, keys, and engine logs."""
