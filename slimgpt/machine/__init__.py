"""What the engine runs on: devices, precision, memory, disk, child processes."""
