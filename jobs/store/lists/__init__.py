"""List queries: filters, and counts of jobs by status."""
