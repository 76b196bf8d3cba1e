"""Each table of the README is one command here: `python -m benchmarks.NAME [--json FILE]`."""
