"""How much every layer keeps, and what a job will cost; nothing here imports torch."""
