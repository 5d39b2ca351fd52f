"""Commands that run the engine on this machine."""
