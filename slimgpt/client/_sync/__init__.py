"""Generated from `_async` by `python -m tests.slimgpt.client.synchronous`."""
