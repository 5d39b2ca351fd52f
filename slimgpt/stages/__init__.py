"""The stages of a job, one file each, named as in its events."""
