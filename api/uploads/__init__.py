"""Receiving uploads: streamed, bounded, validated, stored only when valid."""
