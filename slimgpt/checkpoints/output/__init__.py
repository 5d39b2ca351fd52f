"""What the engine writes: finished layers, and the checkpoint folder that is published."""
