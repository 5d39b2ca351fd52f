"""What lists and counts ask of the store: cursors, filters, numbers of jobs."""
