"""The report of a run: one HTML file that needs no network, drawn in the browser."""
