"""Worker liveness: heartbeat files, and the health check command."""
