"""The commands of the pipeline, and the options and exit codes that all commands share."""
