"""What a terminal shows: bars, tables, JSON lines, and how a command ends."""
