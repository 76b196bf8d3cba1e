"""The page of a run on the dashboard of Dask's scheduler, and its gauges for Prometheus."""
