"""The formats that a pruned model is written in beside the exact one, and the proof of each."""
