"""The processes that load a model with a real loader: transformers, llama.cpp, vLLM."""
