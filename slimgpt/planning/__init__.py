"""Planning without torch: heads and channels per layer, memory and disk forecast."""
