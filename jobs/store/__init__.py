"""The truth about jobs, in SQL: tables, transitions, leases, retention."""
