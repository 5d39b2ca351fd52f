"""What decides which heads and channels leave: OBS, SlimGPT, and the baselines."""
