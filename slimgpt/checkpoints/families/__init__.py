"""The model families: a table, and what their config.json says of sizes and tensors."""
