"""The SQL store, authoritative for jobs: tables, transitions, leases, retention."""
