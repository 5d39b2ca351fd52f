"""Terminal output: progress bars, tables, JSON lines, exit status."""
