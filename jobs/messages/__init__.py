"""Outside the database: the Celery queue, progress in Redis, checks of webhook targets."""
