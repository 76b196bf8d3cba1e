"""The catalog: a description of the raw data, read from YAML."""
