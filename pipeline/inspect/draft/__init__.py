"""Draft a catalog from what the files in a folder are found to hold."""
