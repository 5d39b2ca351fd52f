"""Quality of pruned models: every method on the same models, texts and measures."""

from benchmarks.quality.subjects import Subject, subjects

__all__ = ["Subject", "subjects"]
