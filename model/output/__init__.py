"""What a training leaves: the run directory, its report, its figures, its progress."""
