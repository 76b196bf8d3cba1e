"""Read layouts and windows of bands with GDAL.

GeoTIFFs are opened with their own driver, which is several times faster than to detect one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pyproj import CRS as ProjCRS
from pyproj.exceptions import CRSError as ProjCRSError
from rasterio.crs import CRS
from rasterio.enums import ColorInterp, Interleaving, MaskFlags
from rasterio.errors import CRSError
from rasterio.io import DatasetReader
from rasterio.windows import Window

from pipeline.catalog.raster_source import RasterSource
from pipeline.errors import InputError
from pipeline.rasters.drivers.gdal_open import environment, opened, read_head
from pipeline.rasters.drivers.grib_grid import HEAD_BYTES, grib_grid
from pipeline.rasters.drivers.raw_files import require_whole
from pipeline.rasters.drivers.tiff_tags import require_tags
from pipeline.rasters.files import Place
from pipeline.rasters.pixels import Layout, catalog_crs, decode, require_packing
from pipeline.regrid.placement import Axes
from pipeline.regrid.separable import column_parts
from pipeline.storage import Location

UNEVEN = ("netCDF", "HDF5", "HDF5Image", "Zarr")  # GDAL drivers that assume even axes
HUGE = 1e37  # values beyond it are missing if the nodata value is
CORNER_TOLERANCE = 1e-3  # share of a pixel by which corners may differ in a series


@dataclass(frozen=True, eq=False)
class GdalLayout(Layout):
    """The layout that all rasters of a series share, as GDAL describes it.

    Attributes:
        crs: of the file, or None.
        transform: x of the first edge, width of a column, y of the first edge, height of a row, in
            units of the CRS; width and height are negative where the axis descends.
        bands: number of bands.
    """

    crs: CRS | None
    transform: tuple[float, float, float, float]
    bands: int


def read_layout(path: Location, sources: Sequence[RasterSource]) -> GdalLayout:
    """Read the layout of a raster.

    Raises:
        InputError: the file is not readable, lacks a band, its rows and columns do not follow the
            axes of its CRS, or neither file nor catalog gives a CRS.
    """
    first = sources[0]
    with environment(first), opened(path, first) as file:
        for source in sources:
            if source.band > file.count:
                raise InputError(f"{path}: has {file.count} bands: expected band {source.band}")
            if "band" in source.filled and file.count > 1:
                raise InputError(
                    f"{path}: has {file.count} bands: expected one, as files of {source.product} "
                    "have, or that the catalog says which (band)"
                )
        _require_sound(path, file, sources)
        units = tuple(file.units[source.band - 1] or "" for source in sources)
        about = tuple(
            (f"band {source.band}", file.descriptions[source.band - 1] or "") for source in sources
        )
        return replace(layout_of(path, file, first, units), about=about)


def _require_sound(path: Location, file: DatasetReader, sources: Sequence[RasterSource]) -> None:
    """Raise if an opened raster is cut, or its header makes no numbers of what it holds.

    Raises:
        InputError: it is.
    """
    require_whole(path, file, sources[0])
    if file.driver == "GTiff" and isinstance(path, Path) and sources[0].inside is None:
        require_tags(path)
    for source in sources:
        at = source.band - 1
        require_packing(path, f"band {source.band}", file.scales[at], file.offsets[at], source)


def layout_of(
    path: Location,
    file: DatasetReader,
    source: RasterSource,
    units: tuple[str, ...],
    lengths: tuple[timedelta, ...] = (),
    begins: tuple[datetime, ...] = (),
) -> GdalLayout:
    """The layout of an opened raster.

    Raises:
        InputError: as `read_layout`, except for bands.
    """
    transform = transform_of(path, file)
    whole = source.driver == "grib"  # decoded in float64
    together = file.count if file.interleaving == Interleaving.pixel else 1
    return GdalLayout(
        path=path,
        shape=file.shape,
        placement=_axes(path, file, source),
        units=units,
        chunk=(1, *(file.shape if whole else file.block_shapes[0])),
        itemsize=8 if whole else np.dtype(file.dtypes[0]).itemsize * together,
        crs=file.crs,
        transform=transform,
        bands=file.count,
        lengths=lengths,
        begins=begins,
    )


def transform_of(path: Location, file: DatasetReader) -> tuple[float, float, float, float]:
    """First edge and width of columns, first edge and height of rows.

    Raises:
        InputError: rows and columns do not follow the axes of the CRS.
    """
    if file.width < 1:
        raise InputError(
            f"{path}: a reduced grid, whose rows differ in length: expected a regular one"
        )
    t = file.transform
    if t.b or t.d or t.is_identity or t.is_degenerate:
        raise InputError(
            f"{path}: geotransform {tuple(t)[:6]}: expected rows along parallels and columns along "
            "meridians, or the axes of a projection"
        )
    return t.c, t.a, t.f, t.e


def _axes(path: Location, file: DatasetReader, source: RasterSource) -> Axes:
    if file.driver in UNEVEN:
        raise InputError(
            f"{path}: {file.driver}, for which GDAL assumes even axes: expected "
            "driver: netcdf or zarr"
        )
    x_edges, y_edges = _edges(transform_of(path, file), file.shape)
    try:
        own = ProjCRS.from_wkt(file.crs.to_wkt()) if file.crs else None
    except (CRSError, ProjCRSError) as error:
        raise InputError(f"{path}: its CRS is not understood: expected another") from error
    grid = grib_grid(read_head(path, source, HEAD_BYTES)) if file.driver == "GRIB" else None
    if grid is not None and own is not None:
        try:
            x_edges, y_edges = grid.edges(x_edges, y_edges, own)
        except InputError as error:
            raise InputError(f"{path}: {error}") from error
    found = catalog_crs(source) or own
    if found is None:
        part = next((name for name in file.files if name.lower().endswith(".prj")), None)
        why = f"{Path(part).name} is not understood" if part else "has no CRS"
        raise InputError(f"{path}: {why}: expected a CRS, or that the catalog says it (crs)")
    plain = found.is_geographic and not found.is_derived
    return Axes(x_edges, y_edges, None if plain else found)


def _edges(
    transform: tuple[float, float, float, float], shape: tuple[int, int]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Edges of the columns and rows, in the file's order."""
    x, width, y, height = transform
    return x + width * np.arange(shape[1] + 1.0), y + height * np.arange(shape[0] + 1.0)


def require_same(
    path: Location, file: DatasetReader, expected: GdalLayout, bands: bool = True
) -> None:
    """Raise if an opened raster differs from the first of its series.

    Raises:
        InputError: in shape, CRS, corners or, if `bands`, number of bands.
    """
    shape, transform = file.shape, transform_of(path, file)
    compared: dict[str, tuple[object, object, bool]] = {
        "rows x columns": (shape, expected.shape, shape == expected.shape),
        "CRS": (file.crs or None, expected.crs, file.crs == expected.crs),
        "origin and pixel size": (
            transform,
            expected.transform,
            transform == expected.transform or _same_place(transform, expected),
        ),
    }
    if bands:
        same = file.count == expected.bands
        compared["number of bands"] = (file.count, expected.bands, same)
    for what, (one, other, same) in compared.items():
        if not same:
            name = Path(expected.path).name
            raise InputError(f"{path}: {what} {one}: expected {other} as in {name}")


def _same_place(transform: tuple[float, float, float, float], expected: GdalLayout) -> bool:
    """Whether corners agree within `CORNER_TOLERANCE`, for equal shapes."""
    found = _edges(transform, expected.shape)
    return all(
        bool(np.abs(one - other).max() <= CORNER_TOLERANCE * abs(other[1] - other[0]))
        for one, other in zip(found, _edges(expected.transform, expected.shape), strict=True)
    )


def read_block(
    places: Sequence[Place | None],
    layout: Layout,
    sources: Sequence[RasterSource],
    window: tuple[slice, slice],
) -> NDArray[np.float32]:
    """Read a window of some bands of some files, opening each file once.

    Args:
        places: of the rasters; None without one.
        layout: that each file must have.
        sources: one per band, with values that mean missing besides nodata.
        window: (rows, columns); columns from the width on start again at the first column.

    Returns:
        float32 (sources, places, rows, columns), in the published units (scale and offset applied),
        NaN where missing or without a file.

    Raises:
        InputError: a file is not readable, or differs from `layout`.
    """
    assert isinstance(layout, GdalLayout)
    windows, shape = windows_of(window, layout)
    bands = [source.band for source in sources]
    block = np.empty((len(bands), len(places), *shape), np.float32)
    with environment(sources[0]):
        for step, place in enumerate(places):
            if place is None:
                block[:, step] = np.nan
                continue
            path = place[0]
            with opened(path, sources[0]) as file:
                require_same(path, file, layout)
                _require_sound(path, file, sources)
                raw = read_bands(file, bands, windows)
                for out, values, source in zip(block[:, step], raw, sources, strict=True):
                    write_band(out, values, file, source.band, source)
                    mask = _mask(file, source.band, windows)
                    if mask is not None:
                        out[mask == 0] = np.nan
    return block


def windows_of(window: tuple[slice, slice], layout: Layout) -> tuple[list[Window], tuple[int, int]]:
    """Windows of GDAL that form a window side by side, and its shape."""
    rows, columns = window
    parts = column_parts(window, layout.shape[1])
    return [
        Window.from_slices((rows.start, rows.stop), (part.start, part.stop)) for part in parts
    ], (rows.stop - rows.start, columns.stop - columns.start)


def read_bands(file: DatasetReader, bands: list[int], windows: list[Window]) -> NDArray[Any]:
    """Read packed values, (bands, rows, columns)."""
    pieces = [file.read(bands, window=piece) for piece in windows]
    return pieces[0] if len(pieces) == 1 else np.concatenate(pieces, axis=2)


def _mask(file: DatasetReader, band: int, windows: list[Window]) -> NDArray[Any] | None:
    """Read a band's mask or the alpha band, 0 where missing, (rows, columns); None without one.

    GDAL does not treat an alpha band of floats as a mask.
    """
    alpha = file.colorinterp.index(ColorInterp.alpha) + 1 if has_alpha(file) else None
    if MaskFlags.per_dataset in file.mask_flag_enums[band - 1]:
        pieces = [file.read_masks(band, window=piece) for piece in windows]
    elif alpha not in (None, band):
        pieces = [file.read(alpha, window=piece) for piece in windows]
    else:
        return None
    return np.concatenate(pieces, axis=1)


def has_alpha(file: DatasetReader) -> bool:
    """Whether one of several bands is an alpha band."""
    return file.count > 1 and ColorInterp.alpha in file.colorinterp


def write_band(
    out: NDArray[np.float32],
    raw: NDArray[Any],
    file: DatasetReader,
    band: int,
    source: RasterSource,
) -> None:
    """Scale a band's packed values into `out`, with NaN where they are missing."""
    nodata = file.nodatavals[band - 1]
    codes = source.missing if nodata is None else [nodata, *source.missing]
    decode(out, raw, file.scales[band - 1], file.offsets[band - 1], codes)
    if nodata is not None and abs(nodata) > HUGE:  # such as the lowest float32, often rounded
        out[np.abs(raw) > HUGE] = np.nan
