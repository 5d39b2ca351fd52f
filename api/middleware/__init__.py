"""What stands before the routes: limits, message framing, request log, metrics."""
