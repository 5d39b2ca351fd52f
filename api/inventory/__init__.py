"""What there is to choose from: models, texts, and how long a job on them may take."""
