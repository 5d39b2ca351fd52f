"""`slimgpt track`: reports as runs in MLflow."""
