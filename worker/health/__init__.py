"""Whether a worker does its work: heartbeats, and the command that looks at them."""
