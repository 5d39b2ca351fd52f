"""ASGI middleware: size limits, message framing, rate limit, request log, metrics."""
