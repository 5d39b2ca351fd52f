"""Writing checkpoints: finished layers during a job, and the published folder."""
