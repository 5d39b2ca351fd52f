"""Where models come from: local roots and the hub."""
