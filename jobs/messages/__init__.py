"""What is told outside the store: the queue, the progress of jobs, webhooks."""
