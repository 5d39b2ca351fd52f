"""GGUF: one file for llama.cpp, weights and tokenizer, layers of any size."""
