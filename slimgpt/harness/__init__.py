"""Task evaluation through lm-evaluation-harness."""
