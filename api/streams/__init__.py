"""Answers that go on for long: a job's events as they come, and how many may be open."""
