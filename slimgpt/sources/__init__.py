"""Sources of models and texts: local folders and the Hugging Face hub."""
