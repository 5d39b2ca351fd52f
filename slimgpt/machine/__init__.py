"""Devices, precision, memory, disk and child processes."""
