"""Export parts of a store to files for people who have no Zarr: NetCDF, Parquet and CSV."""
