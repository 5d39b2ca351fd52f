"""MLflow tracking of a report: `record` builds it, `sink` writes it, `names` applies the limits."""
