"""Artifact storage: local folder or object store, atomic publication, calibration sets."""
