"""Output formats in addition to `exact`: `uniform`, `padded` and `gguf`."""
