"""Layer-wise execution: decoder blocks, the pruning sequence, perplexity."""
