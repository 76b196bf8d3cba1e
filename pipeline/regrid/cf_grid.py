"""CF coordinates and attributes (1.11) of a grid and of regridded variables."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pyproj import CRS

from pipeline.regrid.grid import Grid

WGS84 = CRS.from_epsg(4326).to_cf()
GRID_MAPPING = "spatial_ref"
# Attributes of a variable that describe its own grid, packing or file, not the regridded one.
OF_THE_SOURCE = {
    "AREA_OR_POINT", "_ChunkSizes", "_CoordinateAxes", "_FillValue", "_Unsigned", "actual_range",
    "add_offset", "ancillary_variables", "bounds", "cell_measures", "coordinates", "grid_mapping",
    "missing_value", "scale_factor", "valid_max", "valid_min", "valid_range",
}  # fmt: skip


def axis_coordinates(grid: Grid) -> dict[str, tuple[NDArray[np.float64], dict[str, str]]]:
    """Cell centres and attributes of the axes `y` and `x` of a grid."""
    return {
        "y": (grid.y, {"standard_name": "latitude", "units": "degrees_north", "axis": "Y"}),
        "x": (grid.x, {"standard_name": "longitude", "units": "degrees_east", "axis": "X"}),
    }


def grid_mapping_attributes(grid: Grid) -> dict[str, Any]:
    """Attributes of the grid mapping variable: WGS84 and GDAL's transform to degrees."""
    west, _, _, north = grid.bounds
    width = grid.to_degrees(1)
    return {**WGS84, "GeoTransform": f"{west!r} {width!r} 0.0 {north!r} 0.0 {-width!r}"}


def valid_fraction_name(name: str) -> str:
    """Name of the valid fraction that belongs to a variable."""
    return "valid_fraction" if name == "precipitation" else f"{name}_valid_fraction"


def valid_fraction_attributes(name: str) -> dict[str, str]:
    """Attributes of the valid fraction that belongs to a variable."""
    return {"long_name": f"share of the cell with valid {name}", "units": "1"}


def value_attributes(name: str, source: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
    """Attributes of a regridded variable, from those of the source variable.

    A value is a mean over the cell's area, whatever it was before: `area: mean` is added to the
    cell methods.
    """
    kept = {key: value for key, value in source.items() if key not in OF_THE_SOURCE}
    methods = str(kept.get("cell_methods", ""))
    if "area: mean" not in methods:
        kept["cell_methods"] = f"{methods} area: mean".lstrip()
    return {**kept, "ancillary_variables": valid_fraction_name(name)}
