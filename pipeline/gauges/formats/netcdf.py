"""Read discharge from NetCDF: a variable over time, or over time and sites."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.catalog.gauge_source import Columns
from pipeline.catalog.models import Catalog
from pipeline.errors import InputError
from pipeline.gauges.formats.common import TEXT, check_quantity, listed
from pipeline.gauges.rows import Rows, Texts
from pipeline.gauges.site_numbers import site_number, unpadded
from pipeline.units import AREA_M2, DISCHARGE_M3_S, FORCING_UNITS, RUNOFF_M_S, recognise_unit

if TYPE_CHECKING:
    import xarray as xr

UNITS = (*DISCHARGE_M3_S, *RUNOFF_M_S, *FORCING_UNITS, *AREA_M2)
UNREADABLE = (OSError, ValueError, RuntimeError, KeyError, TypeError, OverflowError)
DAY = np.timedelta64(1, "D")


def read_netcdf(catalog: Catalog, path: Path, sites: Sequence[str] = ()) -> Rows:
    """Read the variable of discharge, of some sites; without, of all.

    Days are named by their dates, whatever their hour, which must be one.

    Raises:
        InputError: not readable; a variable is missing or has other dimensions; its unit or its
            name contradicts the catalog; or days have several hours.
    """
    import xarray as xr  # slow to import, and most records are texts

    columns = catalog.gauges.columns or Columns()
    names = [name for name in columns.used if name is not None]
    if columns.wide or not all(isinstance(name, str) for name in names) or len(columns.times) != 1:
        raise InputError(
            f"{catalog.path}: gauges.columns: expected one variable each of NetCDF, by name"
        )
    try:
        with xr.open_dataset(path, decode_cf=False, engine="netcdf4") as raw:
            for name in names:
                if name not in raw.variables:
                    raise InputError(
                        f"{path}: variables {listed(map(str, raw.variables))}: expected {name!r}, "
                        f"as gauges.columns of {catalog.path} says"
                    )
            _check_variable(catalog, path, raw[columns.discharge])
            data = xr.decode_cf(raw[names]).load()
    except UNREADABLE as error:
        if isinstance(error, InputError):
            raise
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{path}: not readable ({reason}): expected NetCDF") from error
    return _rows(catalog, path, data, columns, sites)


def _rows(
    catalog: Catalog, path: Path, data: xr.Dataset, columns: Columns, sites: Sequence[str]
) -> Rows:
    """Rows of the sites, one after the other."""
    (time,) = columns.times
    times = _times(catalog, path, data[time])
    along = data[time].dims[0]
    discharge = _over_sites(path, data[columns.discharge], along)
    flags = None if columns.flag is None else _over_sites(path, data[columns.flag], along)
    if flags is not None and flags.shape != discharge.shape:
        shown = [f"{data[one].name} ({', '.join(map(str, data[one].dims))})"
                 for one in (columns.flag, columns.discharge)]  # fmt: skip
        raise InputError(f"{path}: {shown[0]}: expected the shape of {shown[1]}")
    names = [""]
    if columns.site is not None:
        names = texts_of(data[columns.site])
        if len(names) != discharge.shape[0]:
            raise InputError(
                f"{path}: {columns.site} of {len(names)}: expected one for each of "
                f"{discharge.shape[0]} sites"
            )
    elif discharge.shape[0] != 1:
        raise InputError(
            f"{path}: {columns.discharge} of {discharge.shape[0]} sites: expected one, as "
            f"gauges.columns.site of {catalog.path} is null"
        )
    if sites and columns.site is not None:
        wanted = {unpadded(site_number(site, catalog.usgs)) for site in sites}
        numbers = [unpadded(site_number(name, catalog.usgs)) for name in names]
        chosen = [k for k, number in enumerate(numbers) if number in wanted]
        if not chosen:
            raise InputError(
                f"{path}: {columns.site} {listed(names)}: expected a record of {listed(sites)}"
            )
        names, discharge = [names[k] for k in chosen], discharge[chosen]
        flags = None if flags is None else flags[chosen]
    steps = len(times)
    repeated = np.repeat(np.arange(len(names), dtype=np.int32), steps)
    tiled = np.tile(np.arange(steps, dtype=np.int32), len(names))
    blank = Texts.repeat("", repeated.size)
    return Rows(
        site_no=Texts(repeated, pa.array(names, TEXT)),
        series=blank,
        time=Texts(tiled, pa.array(times, TEXT)),
        value=_distinct(discharge),
        qualifiers=blank if flags is None else _distinct(flags),
        place=lambda row: f"{columns.discharge}, {along} {int(row) % steps}",
    )


def _check_variable(catalog: Catalog, path: Path, variable: xr.DataArray) -> None:
    """Require that attributes agree with the catalog, and that numbers can be unpacked."""
    about = variable.attrs
    for text in (str(variable.name), about.get("standard_name"), about.get("long_name")):
        check_quantity(catalog, path, str(text or ""))
    units, text = catalog.gauges.units, str(about.get("units", about.get("unit", "")))
    stated = recognise_unit(text, UNITS)
    daily_sums = stated == "mm" and units == "mm/day" and catalog.gauges.values == "daily"
    if stated not in (None, units) and not daily_sums:
        raise InputError(
            f"{path}: {variable.name} states {text!r}: expected {units}, the gauges.units of "
            f"{catalog.path}"
        )
    for key in ("scale_factor", "add_offset"):
        number = np.asarray(about.get(key, 1.0), np.float64)
        zero = key == "scale_factor" and not number.all()
        if number.size != 1 or not np.isfinite(number).all() or zero:
            raise InputError(
                f"{path}: {variable.name}: {key} {about[key]}: expected a number that is not zero"
            )


def _times(catalog: Catalog, path: Path, time: xr.DataArray) -> list[str]:
    """Days, or instants without an offset, as text."""
    instants = time.dtype.kind == "M" or hasattr(time, "dt")  # or of another calendar
    if time.ndim != 1 or not instants:
        raise InputError(
            f"{path}: {time.name} ({', '.join(map(str, time.dims))}) {time.dtype}: expected times "
            "along one dimension, with units such as 'days since 1970-01-01'"
        )
    if time.dtype.kind == "O":  # of another calendar
        found = time.dt.strftime("%Y-%m-%dT%H:%M:%S").values.tolist()
    else:
        found = np.datetime_as_string(time.dt.round("s").values, unit="s").tolist()
    if catalog.gauges.values != "daily":
        return found
    clocks = {text[10:] for text in found if text != "NaT"}
    if len(clocks) > 1:
        raise InputError(
            f"{path}: {time.name} at {listed(one[1:] for one in clocks)}: expected one hour of the "
            "day, as gauges.values is daily"
        )
    return [text[:10] for text in found]


def _over_sites(path: Path, variable: xr.DataArray, along: Any) -> NDArray[Any]:
    """Values of a variable, (sites, times)."""
    other = [dim for dim in variable.dims if dim != along and variable.sizes[dim] > 1]
    if along not in variable.dims or len(other) > 1:
        raise InputError(
            f"{path}: {variable.name} ({', '.join(map(str, variable.dims))}): expected one over "
            f"{along}, or over sites and {along}"
        )
    ordered = variable.transpose(..., along)
    return np.asarray(ordered.values).reshape(-1, variable.sizes[along])


def texts_of(variable: xr.DataArray) -> list[str]:
    """Numbers or names of the sites."""
    values = np.ravel(variable.values)
    whole = values.dtype.kind == "f" and np.isfinite(values).all()
    if whole and (values == np.round(values)).all():
        values = values.astype(np.int64)
    return [_text(one) for one in values.tolist()]


def _text(one: Any) -> str:
    """A number or word as text."""
    text = one.decode(errors="replace") if isinstance(one, bytes) else str(one)
    return text.strip().strip("\0")


def _distinct(values: NDArray[Any]) -> Texts:
    """A column of numbers or words, the shortest text of each number; blank where missing.

    Whole numbers that missing ones made floats of are texts of whole numbers.
    """
    if values.dtype.kind == "O":
        values = np.array([_text(one) for one in values.ravel()])
    found, codes = np.unique(values.ravel(), return_inverse=True)
    texts = [_text(one).removesuffix(".0") for one in found]
    texts = ["" if text == "nan" else text for text in texts]
    return Texts(codes.astype(np.int32).ravel(), pa.array(texts, TEXT))
