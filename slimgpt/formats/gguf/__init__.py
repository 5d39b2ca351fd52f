"""Export to GGUF for llama.cpp: weights and tokenizer in one file, with layers of any size."""
