"""Event streams: feeds of followed jobs, and checks of their keys."""
