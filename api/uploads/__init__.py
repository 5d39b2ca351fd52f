"""A text on its way in: received within bounds, checked, or nothing kept."""
