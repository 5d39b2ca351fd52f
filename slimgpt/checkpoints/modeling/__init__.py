"""The modelling file that is published beside pruned weights (see `published`)."""
