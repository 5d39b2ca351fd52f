"""Background loops: reaper, retention, orphaned files, webhook delivery."""
