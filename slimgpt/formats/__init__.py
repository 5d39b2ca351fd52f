"""Output formats beside `exact`: `uniform`, `padded` and `gguf`."""
