"""Versions of the database schema, applied by `jobs.store.database.upgrade`."""
