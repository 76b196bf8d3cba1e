"""Each table of docs/benchmarks.md is one command here: python -m benchmarks.NAME [--json FILE]."""
