"""Questions with known answers, asked through lm-evaluation-harness with its own prompts."""
