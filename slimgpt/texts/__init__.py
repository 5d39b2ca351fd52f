"""Text sources to token ids: documents, calibration sequences, evaluation windows."""
