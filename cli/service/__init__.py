"""`slimgpt up` (the embedded stack), `slimgpt config check`, `slimgpt keys`."""
