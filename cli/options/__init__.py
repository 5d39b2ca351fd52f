"""Options of the engine commands, and their conversion to a job specification."""
