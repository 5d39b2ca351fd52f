"""Verification and timing of written models, in fresh processes with real loaders."""
