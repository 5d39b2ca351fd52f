"""The model's tokenizer in a sandbox, its chat templates, and windows of tokens."""
