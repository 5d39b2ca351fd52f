"""What published models are used for, tried in each format that transformers loads."""
