"""What a job is: the specification of pruning, evaluation and recovery, in names and sizes."""
