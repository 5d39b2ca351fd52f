"""From a text source to token ids: documents, calibration sequences, evaluation windows."""
