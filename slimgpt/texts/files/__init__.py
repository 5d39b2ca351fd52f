"""Files of text as users have them: what they hold, judged by content. No torch is imported."""
