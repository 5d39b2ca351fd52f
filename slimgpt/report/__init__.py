"""What people read of a job: the report as a page, the model card, several jobs side by side.

Everything here is made from `report.json` (and `provenance.json` where it lies beside), and says no
number that is not in it. Imports neither torch nor transformers; matplotlib only where it draws.
"""
