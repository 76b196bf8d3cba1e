"""The store: layout, reading, writing and resuming. Knows nothing of pipeline.run."""
