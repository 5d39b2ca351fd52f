"""Subprocess entry points, each with one real loader: transformers, llama.cpp, vLLM."""
