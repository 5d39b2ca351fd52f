"""Export to GGUF for llama.cpp: weights and tokenizer in one file, layers of any size."""
