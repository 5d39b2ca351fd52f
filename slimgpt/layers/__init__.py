"""Running a model a layer at a time: blocks, the pruning sequence, perplexity."""
