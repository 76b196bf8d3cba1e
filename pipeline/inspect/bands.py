"""Describe rasters that GDAL opens: bands, place, time in the name, values, directions."""

from __future__ import annotations

import zipfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from pyproj import CRS
from pyproj.exceptions import CRSError
from rasterio.errors import RasterioError
from rasterio.io import DatasetReader
from rasterio.warp import transform_bounds

from pipeline.catalog.raster_source import RasterSource
from pipeline.errors import InputError
from pipeline.inspect.description import (
    OPEN,
    Description,
    add_suspects,
    describe_times,
    describe_values,
    doubt_units,
    draw_map,
)
from pipeline.inspect.directions import add_directions
from pipeline.inspect.messages import select_messages
from pipeline.inspect.time_template import time_template
from pipeline.rasters.drivers import gdal, grib
from pipeline.units import FORCING_UNITS, recognise_unit, split_factor

MAX_LISTED = 6  # bands
MAX_SIDE = 4000  # pixels that are read; of a larger raster the middle
GRIB_TAGS = ("GRIB_ELEMENT", "GRIB_COMMENT", "GRIB_SHORT_NAME")


def describe_bands(path: Path) -> Description | None:
    """Describe a raster that GDAL opens; None if it opens none."""
    try:
        with rasterio.Env(GRIB_NORMALIZE_UNITS="NO"), rasterio.open(gdal_path(path)) as file:
            description = Description(path, "raster")
            _describe(description, file)
            return description
    except RasterioError:
        return None


def gdal_path(path: Path) -> str:
    """GDAL's name of a file, or of the first raster in a zip file."""
    if not zipfile.is_zipfile(path):
        return str(path)
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    rasters = [name for name in names if name.lower().endswith((".bil", ".tif", ".asc", ".grb"))]
    return f"/vsizip/{path}/{rasters[0]}" if rasters else f"/vsizip/{path}"


def _describe(description: Description, file: DatasetReader) -> None:
    inside = Path(file.name).name if "/vsizip/" in file.name else None
    about = f"GDAL {file.driver}, {file.count} bands, {file.dtypes[0]}"
    description.add("format", about + (f", {inside} in a zip" if inside else ""))
    for band in range(1, min(file.count, MAX_LISTED) + 1):
        description.add("bands", _about_band(file, band))
    if file.count > MAX_LISTED:
        description.add("bands", f"and {file.count - MAX_LISTED} more")
    driver = {"GTiff": "geotiff", "GRIB": "grib"}.get(file.driver, "gdal")
    description.keys = {"driver": driver}
    _add_place(description, file)
    rain = select_messages(description, file) if driver == "grib" else 1
    values = _add_values(description, file, rain)
    if add_directions(description, values):
        return
    units = file.units[rain - 1] or file.tags(rain).get("GRIB_UNIT", "")
    factor, plain = split_factor(units)
    known = recognise_unit(plain if factor else units, FORCING_UNITS)
    if known:
        description.propose("units", known, f"the file says {units}")
        if factor != 1:
            description.propose("scale", factor, f"the file says {units}")
    if driver == "gdal" and inside:
        description.propose("inside", f"*{Path(inside).suffix}", f"such as {inside}")
    description.add(
        "units",
        (f"{units!r}: " if units else "none stated: ")
        + (f"read as {known}" if known else "the catalog has to say them"),
    )
    named = time_template(description.path.name)
    if named is not None:
        description.add("time in name", f"{named[1]}, if files: {named[0]}")
    elif file.driver != "GRIB":
        description.add("time in name", "none: a series of rasters needs {time:...} in the name")
    _try_driver(description, driver)


def _about_band(file: DatasetReader, band: int) -> str:
    tags = file.tags(band)
    said = [file.descriptions[band - 1] or "", *(tags.get(tag, "") for tag in GRIB_TAGS)]
    valid, reference = (tags.get(f"GRIB_{what}", "").split() for what in ("VALID_TIME", "REF_TIME"))
    if valid and reference:
        ahead = timedelta(seconds=float(tags.get("GRIB_FORECAST_SECONDS", "0").split()[0]))
        said.append(
            f"valid {_instant(valid[0])}, reference {_instant(reference[0])}, forecast {ahead}"
        )
    packing = f"scale {file.scales[band - 1]:g}, offset {file.offsets[band - 1]:g}"
    plain = (file.scales[band - 1], file.offsets[band - 1]) == (1.0, 0.0)
    nodata = file.nodatavals[band - 1]
    said += [
        f"nodata {'not stated' if nodata is None else f'{nodata:g}'}",
        "" if plain else packing,
    ]
    return f"{band}: {', '.join(filter(None, said))}"


def _instant(seconds: str) -> str:
    return f"{datetime.fromtimestamp(float(seconds), UTC):%Y-%m-%d %H:%M}"


def _add_place(description: Description, file: DatasetReader) -> None:
    transform = file.transform
    try:
        crs = CRS.from_wkt(file.crs.to_wkt()) if file.crs else None
        code = crs.to_authority() if crs else None
        description.add(
            "CRS",
            "none: the catalog has to say it (crs)"
            if crs is None
            else crs.name + (f" ({':'.join(code)})" if code else ""),
        )
        unit = crs.axis_info[0].unit_name if crs and crs.axis_info else "units"
        degrees = transform_bounds(file.crs, "EPSG:4326", *file.bounds) if crs else None
    except (CRSError, RasterioError) as error:
        description.add("CRS", f"not understood ({error})")
        unit, degrees = "units", None
    left, bottom, right, top = file.bounds
    inside = -360 <= left < right <= 360 and -90.5 <= bottom < top <= 90.5
    if crs is None and inside and not transform.is_identity:
        description.propose("crs", "EPSG:4326", f"{OPEN}: the file has none; could be degrees")
    where = f"{left:.8g}..{right:.8g}, {bottom:.8g}..{top:.8g}"
    description.add(
        "grid",
        f"{file.height} rows x {file.width} columns of {abs(transform.e):.6g} x "
        f"{abs(transform.a):.6g} {unit}, {where}",
    )
    if degrees is not None and crs is not None and not crs.is_geographic:
        west, south, east, north = degrees
        description.add("grid", f"{west:.5g}..{east:.5g} E, {south:.5g}..{north:.5g} N")


def _add_values(description: Description, file: DatasetReader, band: int) -> NDArray[np.float64]:
    """Add range and suspects of a band's middle; float64, NaN where missing."""
    top, left = (max(0, (size - MAX_SIDE) // 2) for size in file.shape)
    window = rasterio.windows.Window(
        left, top, min(MAX_SIDE, file.width), min(MAX_SIDE, file.height)
    )
    data = file.read(band, window=window, masked=True)
    values: NDArray[np.float64] = np.ma.filled(data.astype(np.float64), np.nan)
    packing = file.scales[band - 1], file.offsets[band - 1]
    values = values * packing[0] + packing[1]
    label = "values" if window.width * window.height == file.width * file.height else "middle"
    description.add(label, describe_values(values) + (f" (band {band})" if file.count > 1 else ""))
    doubt_units(description, values)
    suspects = add_suspects(description, values, "missing")
    if suspects and packing == (1.0, 0.0):
        description.propose("missing", suspects, f"{OPEN}: see what looks missing")
    box = file.window_bounds(window)
    extent = (box[0], box[2], box[1], box[3])
    step = max(1, max(values.shape) // 1000)
    description.draw = draw_map(
        values[::step, ::step], extent, file.units[band - 1] or f"band {band}"
    )
    return values


def _try_driver(description: Description, driver: str) -> None:
    """Add why the pipeline's reader refuses the file, if it does, or what it finds in it."""
    settings: dict[str, Any] = {"driver": driver, "files": "{time:%Y}", "units": "mm"}
    settings |= {
        key: description.keys[key] for key in ("select", "inside", "crs") if key in description.keys
    }
    try:
        source = RasterSource.model_validate(settings)
        layout = (grib if driver == "grib" else gdal).read_layout(description.path, [source])
        if driver == "grib":
            description.labels = grib.read_times(description.path, [source])
            description.add("times", describe_times(description.labels))
        if len(layout.lengths) == 1:
            description.keys |= {"interval": layout.lengths[0], "label": "end"}
    except InputError as error:
        description.refuse(error)
