"""The engine as a child process: launch, events, log, termination."""
