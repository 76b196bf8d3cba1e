"""From raw rasters, gauge records, polygons and terrain to one analysis-ready store.

regrid          conservative regridding of any xarray object onto a longitude-latitude grid
Grid            such a grid; 5 arc-minutes by default
load_catalog    read the YAML file that describes the raw data
run             write the store of a catalog
open_store, open_region, open_watershed, open_gauges
                read a store as xarray objects
basin_means     average a store's forcings over its watersheds
InputError      what is raised for a user's mistake
RunError        what is raised when good input could not be processed
"""

from typing import TYPE_CHECKING

from pipeline import lazy

if TYPE_CHECKING:
    from pipeline.catalog.models import load_catalog as load_catalog
    from pipeline.errors import InputError as InputError
    from pipeline.errors import RunError as RunError
    from pipeline.export.basin_means import basin_means as basin_means
    from pipeline.regrid.api import regrid as regrid
    from pipeline.regrid.grid import Grid as Grid
    from pipeline.run.execute import run as run
    from pipeline.store.read import open_gauges as open_gauges
    from pipeline.store.read import open_region as open_region
    from pipeline.store.read import open_store as open_store
    from pipeline.store.read import open_watershed as open_watershed

lazy.export(
    __name__,
    {
        "Grid": "pipeline.regrid.grid",
        "InputError": "pipeline.errors",
        "RunError": "pipeline.errors",
        "basin_means": "pipeline.export.basin_means",
        "load_catalog": "pipeline.catalog.models",
        "open_gauges": "pipeline.store.read",
        "open_region": "pipeline.store.read",
        "open_store": "pipeline.store.read",
        "open_watershed": "pipeline.store.read",
        "regrid": "pipeline.regrid.api",
        "run": "pipeline.run.execute",
    },
)
