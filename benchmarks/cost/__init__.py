"""What a job costs: operations, the time that a machine needs for them, and the engine's."""
