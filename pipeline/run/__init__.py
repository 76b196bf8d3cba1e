"""Plan a store and execute the plan on Dask workers."""
