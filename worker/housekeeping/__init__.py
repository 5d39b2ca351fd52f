"""What runs beside jobs: the reaper, retention, orphaned files, webhooks."""
