"""Several reports side by side: rows, what they can be compared by, table, plots and page."""
