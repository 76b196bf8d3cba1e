"""Find out what kind of file a path is, and describe it."""

from __future__ import annotations

from pathlib import Path

from pipeline.errors import InputError
from pipeline.inspect.description import Description
from pipeline.rasters.drivers.radar import kind_of
from pipeline.rasters.drivers.signatures import conversion_of
from pipeline.rasters.files import ZARR_ROOT_FILES

GRID_STARTS = (b"CDF", b"\x89HDF")  # NetCDF classic; NetCDF 4 and HDF5
TABLES = (
    ".csv",
    ".txt",
    ".tsv",
    ".rdb",
    ".dat",
    ".day",
    ".tss",
)  # texts that GDAL would take for vectors


def inspect_file(path: Path) -> Description:
    """Describe a file of any format: what it holds, and what a reader would refuse of it.

    Args:
        path: of a raster, a Zarr store, a record of discharge, or polygons.

    Raises:
        InputError: there is no such file, or it cannot be read at all.
    """
    if path.is_dir() and any((path / name).exists() for name in ZARR_ROOT_FILES):
        from pipeline.inspect.grids import describe_grid

        return describe_grid(path, "zarr")
    try:
        with path.open("rb") as file:
            start = file.read(8)
    except OSError as error:
        raise InputError(f"{path}: not readable ({error.strerror}): expected a file") from error
    if kind_of(path) is not None:
        from pipeline.inspect.grids import describe_grid

        return describe_grid(path, "radar")
    if start.startswith(GRID_STARTS):
        from pipeline.inspect.grids import describe_grid
        from pipeline.inspect.series import describe_series

        return describe_series(path) or describe_grid(path)
    from pipeline.inspect.bands import describe_bands
    from pipeline.inspect.outlines import describe_outlines
    from pipeline.inspect.records import describe_record

    if path.suffix.lower() in TABLES:
        return describe_record(path)
    known = describe_bands(path) or describe_outlines(path)
    if known is None and (hint := conversion_of(path)):
        description = Description(path, "unknown")
        description.add("format", f"binary, {path.stat().st_size} bytes")
        description.add("refused", hint)
        return description
    return known or describe_record(path)
