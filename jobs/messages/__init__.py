"""The Celery queue, progress in Redis, and checks of webhook URLs."""
