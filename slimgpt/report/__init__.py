"""`report.json`, its HTML page, the model card, comparisons and MLflow tracking.

Everything is made from `report.json` and, if present, `provenance.json`, and shows only their
numbers. Imports neither torch nor transformers; matplotlib only in plots.
"""
