"""What each database needs to be told, and waited for."""
