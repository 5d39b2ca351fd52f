"""Pruning mathematics: OBS, SlimGPT's head and channel pruning, baselines."""
