"""The engine as a child process: its start, its events, its log, its end."""
