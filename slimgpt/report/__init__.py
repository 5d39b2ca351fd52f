"""`report.json`, its HTML page, the model card, comparisons and MLflow tracking.

Everything here is made from `report.json` (and `provenance.json` where it lies beside), and says no
number that is not in it. Imports neither torch nor transformers; matplotlib only where it draws.
"""
