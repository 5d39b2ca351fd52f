"""`slimgpt track`: reports as MLflow runs."""
