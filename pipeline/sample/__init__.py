"""The embedded sample: a deterministic synthetic world, written as raw files."""
