"""The client, written once: asynchronous; `_sync` is generated from it."""
