"""Versions of the database schema, applied by `jobs.database.upgrade`."""
