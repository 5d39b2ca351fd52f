"""What a report becomes in MLflow: `record` decides, `sink` writes, `names` keep the limits."""
