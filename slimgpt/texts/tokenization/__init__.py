"""A model's own tokenizer: read within bounds, its chat templates, and windows of its tokens."""
