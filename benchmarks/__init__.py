"""What measures quality and memory, side by side with the published methods."""
