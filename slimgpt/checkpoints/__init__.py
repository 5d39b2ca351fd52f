"""Reading and writing Hugging Face checkpoint folders, one layer at a time."""
