"""Read a whole raster as its file publishes it, without the code of `pipeline.rasters.drivers`.

NetCDF is read by netCDF4 and Zarr by zarr, both packed and unpacked here after CF; everything else
by rasterio, which masks and scales. Only NetCDF at URLs, which netCDF4 does not open, and radar
composites are left to the driver.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import zarr
from netCDF4 import Dataset, default_fillvals
from rasterio.enums import ColorInterp
from rasterio.errors import RasterioError

from pipeline.catalog.raster_source import RasterSource
from pipeline.errors import InputError, client_errors
from pipeline.rasters.drivers.gdal_open import environment, gdal_name
from pipeline.rasters.files import ONLY
from pipeline.rasters.series import RasterSeries
from pipeline.regrid.placement import Axes
from pipeline.storage import Location

NO_NUMBER = 1e30  # larger ones, such as the lowest float32, are codes
FULL_TURN = 360.0
# Words in the attributes or the name of a coordinate that say along which axis it lies.
WORDS = {
    "y": ("latitude", "degrees_north", "projection_y", "lat", "north", "y", "yc"),
    "x": ("longitude", "degrees_east", "projection_x", "lon", "east", "x", "xc"),
}


@dataclass(frozen=True, eq=False)
class Variable:
    """A packed variable, or a coordinate, of a file.

    Attributes:
        values: the library's array, which is read where it is indexed.
        dimensions: their names.
        attributes: as the file states them.
        fill: value of what was never written; None if that is not missing.
    """

    values: Any
    dimensions: tuple[str, ...]
    attributes: Mapping[str, Any]
    fill: Any


def read_published(series: RasterSeries, name: str, interval: int) -> np.ndarray:
    """Read the raster of an interval: float64 (rows, columns), missing as NaN, in the file's units.

    Raises:
        InputError: the file is not readable any more, or is another.
    """
    source = series.sources[series.names.index(name)]
    path, position = series.files.place(interval)
    if source.driver == "radar" or (source.driver == "netcdf" and not isinstance(path, Path)):
        rows, columns = series.layout.shape
        whole = slice(0, rows), slice(0, columns)
        return series.read(interval, interval + 1, whole)[name][0].astype(np.float64)
    with _reporting(path):
        if source.driver in ("netcdf", "zarr"):
            with _variables(path, source) as variables:
                return _read_packed(variables, source, series, max(position, 0))
        return _read_band(path, source, max(position, 0) if position != ONLY else 0)


@contextmanager
def _reporting(path: Location) -> Iterator[None]:
    others = (RasterioError, LookupError, ValueError, RuntimeError, TypeError)
    try:
        yield
    except InputError:
        raise
    except client_errors(*others) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"{path}: not readable ({reason}): expected the raster that the store holds"
        ) from error


# --- rasterio ----------------------------------------------------------------------------------


def _read_band(path: Location, source: RasterSource, position: int) -> np.ndarray:
    """Read a band, or the message of a position in the order of time."""
    with environment(source), rasterio.open(gdal_name(path, source)) as file:
        band = source.band
        if source.driver == "grib":
            tags = {number: file.tags(number) for number in file.indexes}
            chosen = [
                number
                for number, about in tags.items()
                if all(about.get(key) == str(value) for key, value in source.select.items())
            ]
            chosen.sort(key=lambda number: int(tags[number]["GRIB_VALID_TIME"].split()[0]))
            band = chosen[position]
        raw = file.read(band, masked=True).astype(np.float64).filled(np.nan)
        colours = file.colorinterp
        if file.count > 1 and ColorInterp.alpha in colours:
            raw[file.read(colours.index(ColorInterp.alpha) + 1) == 0] = np.nan
        scale, offset = file.scales[band - 1], file.offsets[band - 1]
    raw[np.isin(raw, source.missing) | (np.abs(raw) > NO_NUMBER)] = np.nan
    return np.asarray(raw * scale + offset)


# --- netCDF4 and zarr --------------------------------------------------------------------------


@contextmanager
def _variables(path: Location, source: RasterSource) -> Iterator[dict[str, Variable]]:
    """Open a file: by name its variables, of a Zarr store the source's and its dimensions'."""
    if source.driver == "zarr":
        group = zarr.open_group(str(path), mode="r")
        prefix = f"{source.group}/" if source.group else ""
        found = {str(source.variable): _of_zarr(group[f"{prefix}{source.variable}"])}
        for name in found[str(source.variable)].dimensions:
            if f"{prefix}{name}" in group:
                found[name] = _of_zarr(group[f"{prefix}{name}"])
        yield found
        return
    with Dataset(path) as file:
        where = file[source.group] if source.group else file
        where.set_auto_maskandscale(False)
        yield {name: _of_netcdf(variable) for name, variable in where.variables.items()}


def _of_netcdf(variable: Any) -> Variable:
    attributes = {key: variable.getncattr(key) for key in variable.ncattrs()}
    kind = variable.dtype
    large = isinstance(kind, np.dtype) and kind.itemsize > 1  # a byte has no default
    default = default_fillvals.get(kind.str[1:]) if large else None
    return Variable(variable, variable.dimensions, attributes, default)


def _of_zarr(array: zarr.Array | zarr.Group) -> Variable:
    assert isinstance(array, zarr.Array), array
    attributes: dict[str, Any] = dict(array.attrs)
    said = attributes.get("_FillValue")
    if isinstance(said, str) and array.dtype.kind == "f":  # as xarray writes it in format 3
        try:
            attributes["_FillValue"] = np.frombuffer(base64.b64decode(said), "<f8")[0]
        except ValueError:
            attributes["_FillValue"] = float(said)
    if array.metadata.zarr_format == 2:
        dimensions = tuple(attributes.get("_ARRAY_DIMENSIONS", ()))
    else:
        dimensions = tuple(map(str, array.metadata.dimension_names or ()))
    fill = array.fill_value
    return Variable(array, dimensions, attributes, None if fill == 0 else fill)


def _read_packed(
    variables: dict[str, Variable], source: RasterSource, series: RasterSeries, position: int
) -> np.ndarray:
    """Read and unpack a raster of a variable, (rows, columns)."""
    variable = variables[str(source.variable)]
    along = [_axis_of(name, variables, source, series) for name in variable.dimensions]
    y, x = _rows_and_columns(variable, along, series.layout.shape)
    index: list[Any] = [
        position if name == series.layout.time else _selected(name, variables, source)
        for name in variable.dimensions
    ]
    index[y] = index[x] = slice(None)
    raw = np.asarray(variable.values[tuple(index)])
    return _unpack(raw if y < x else raw.T, variable, source)


def _selected(name: str, variables: dict[str, Variable], source: RasterSource) -> int:
    """Position along a further dimension: that of the selected value, or the position itself."""
    value = source.select.get(name, 0)
    if name not in source.select or name not in variables:
        return int(value)
    known = np.ma.getdata(variables[name].values[:])
    if known.dtype.kind == "S":
        return [text.decode() for text in known].index(str(value))
    if known.dtype.kind in "fiu":
        return int(np.abs(known.astype(float) - float(value)).argmin())
    return list(map(str, known)).index(str(value))


def _axis_of(
    name: str, variables: dict[str, Variable], source: RasterSource, series: RasterSeries
) -> str | None:
    """Whether a dimension is `y` or `x`, None if nothing says so."""
    if name == series.layout.time:
        return None
    for axis in ("y", "x"):
        if getattr(source.axes, axis) == name:
            return axis
    about = variables[name].attributes if name in variables else {}
    stated = [str(about.get(key, "")).lower() for key in ("standard_name", "units", "axis")]
    for text in (*stated, name.lower()):
        for axis, words in WORDS.items():
            if text in words or any(len(word) > 1 and word in text for word in words):
                return axis
    return None


def _rows_and_columns(
    variable: Variable, along: list[str | None], shape: tuple[int, int]
) -> tuple[int, int]:
    """Positions of the dimensions of rows and columns."""
    if along.count("y") == along.count("x") == 1:
        return along.index("y"), along.index("x")
    sizes = variable.values.shape
    pairs = [
        (y, x)
        for y in range(len(sizes))
        for x in range(len(sizes))
        if y != x and (sizes[y], sizes[x]) == shape
    ]
    if not pairs:
        raise InputError(f"{variable.dimensions} of {sizes}: expected {shape[0]} x {shape[1]}")
    return pairs[-1] if pairs[-1][0] < pairs[-1][1] or len(pairs) == 1 else pairs[0]


def _unpack(raw: np.ndarray, variable: Variable, source: RasterSource) -> np.ndarray:
    """Missing as NaN, the rest times scale plus offset."""
    about = variable.attributes
    unsigned = str(about.get("_Unsigned", "")).lower() == "true" and raw.dtype.kind == "i"
    packed = raw.astype(np.float64)
    modulus = 2.0 ** (8 * raw.dtype.itemsize)
    if unsigned:
        packed[packed < 0] += modulus
    codes = [*_numbers(about.get("_FillValue")), *_numbers(about.get("missing_value"))]
    if "_FillValue" not in about and variable.fill is not None:
        codes.append(float(variable.fill))
    least, most = (_numbers(about.get(key)) for key in ("valid_min", "valid_max"))
    both = _numbers(about.get("valid_range"))
    if len(both) == 2:
        least, most = both[:1], both[1:]
    if unsigned:
        codes, least, most = (
            [v + modulus if v < 0 else v for v in values] for values in (codes, least, most)
        )
    missing = np.zeros(raw.shape, bool)
    for code in [*codes, *source.missing]:
        if np.isfinite(code):
            rounded = float(np.float32(code)) if raw.dtype == np.float32 else code
            missing |= packed == rounded
    # after CF limits are those of packed values if they are of their type, else nobody knows
    if least and _kind(about, "valid_min", "valid_range") == raw.dtype.kind:
        missing |= packed < least[0]
    if most and _kind(about, "valid_max", "valid_range") == raw.dtype.kind:
        missing |= packed > most[0]
    scale, offset = (
        (_numbers(about.get(key)) or [plain])[0]
        for key, plain in (("scale_factor", 1.0), ("add_offset", 0.0))
    )
    return np.where(missing, np.nan, packed * scale + offset)


def _numbers(value: Any) -> list[float]:
    """Numbers of an attribute; none of a word."""
    try:
        return [] if value is None else [float(number) for number in np.ravel(value)]
    except ValueError:
        return []


def _kind(about: Mapping[str, Any], *keys: str) -> str:
    """Kind of the numbers of the last of some attributes that is there."""
    return [np.asarray(about[key]).dtype.kind for key in keys if key in about][-1]


# --- where the pixels lie ----------------------------------------------------------------------


def misplaced(series: RasterSeries, name: str) -> str:
    """Say how the first file's axes differ from where the series places its pixels; else empty."""
    source = series.sources[series.names.index(name)]
    path, placement = series.layout.path, series.layout.placement
    remote = source.driver == "netcdf" and not isinstance(path, Path)
    if source.driver not in ("netcdf", "zarr") or remote or not isinstance(placement, Axes):
        return ""
    if source.place_by == "latlon" or source.axes.latitude or source.axes.longitude:
        return ""
    with _reporting(path), _variables(path, source) as variables:
        variable = variables[str(source.variable)]
        along = [_axis_of(name, variables, source, series) for name in variable.dimensions]
        at = _rows_and_columns(variable, along, series.layout.shape)
        for dimension, edges in zip(at, (placement.y_edges, placement.x_edges), strict=True):
            coordinate = variables.get(variable.dimensions[dimension])
            if coordinate is None or len(coordinate.dimensions) != 1:
                continue
            centres = np.asarray(coordinate.values[:], np.float64)
            if placement.crs is None and not _inside(centres, edges):
                return (
                    f"{path}: {variable.dimensions[dimension]} {centres[0]:g}..{centres[-1]:g}: "
                    f"expected pixels between {edges[0]:g} and {edges[-1]:g}"
                )
            if (centres[-1] > centres[0]) != (edges[-1] > edges[0]):
                return f"{path}: {variable.dimensions[dimension]} runs the other way"
    return ""


def _inside(centres: np.ndarray, edges: np.ndarray) -> bool:
    """Whether each centre [degrees] is between its edges, in whatever turn of the circle."""
    middle = (edges[:-1] + edges[1:]) / 2
    centres = centres - FULL_TURN * np.round((centres - middle) / FULL_TURN)
    return bool((np.abs(centres - middle) <= np.abs(np.diff(edges)) / 2).all())
