"""What a post is checked for: sources, positions, disk."""
