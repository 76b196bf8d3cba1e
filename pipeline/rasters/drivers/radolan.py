"""Read RADOLAN and RADKLIM composites of the German weather service with wradlib."""

from __future__ import annotations

import re
import warnings
from datetime import datetime, timedelta
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr
from pyproj import CRS

from pipeline.errors import InputError
from pipeline.rasters.drivers.radar_composite import Composite, head_of, unpacked

INTERVAL = re.compile(rb"INT\s*(\d+)(?:U(\d))?")  # length, and its unit: minutes or days
UNITS = {b"0": timedelta(minutes=1), b"1": timedelta(days=1)}


def read(path: Path) -> Composite:
    """Read a composite. Values are rates: sums over the interval, divided by its length.

    Raises:
        InputError: wradlib is not installed, or the file is damaged.
    """
    if find_spec("wradlib") is None:
        raise InputError(
            f"{path}: RADOLAN: expected wradlib installed (dom-st[radar]), or the file as NetCDF, "
            "by wradlib or radolan_to_netcdf"
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of several codes for missing
        with xr.open_dataset(BytesIO(unpacked(path)), engine="radolan") as dataset:
            name = next(str(n) for n, variable in dataset.data_vars.items() if variable.ndim == 2)
            variable = dataset[name].transpose("y", "x").load()
            crs = CRS.from_wkt(dataset["crs"].attrs["crs_wkt"])
            label = pd.Timestamp(dataset["time"].values.ravel()[0]).to_pydatetime()
    units = str(variable.attrs.get("unit", variable.attrs.get("units", "")))
    return Composite(
        values={name: variable.values.astype(np.float32)},
        attributes={name: {"long_name": f"RADOLAN {name} rain", "units": units}},
        crs=crs,
        x=variable["x"].values.astype(np.float64),
        y=variable["y"].values.astype(np.float64),
        label=label,
        interval=_interval(path, label),
    )


def _interval(path: Path, label: datetime) -> tuple[datetime, datetime] | None:
    """Start and end of the sum that ends at the label; None if the header gives no length."""
    found = INTERVAL.search(head_of(path))
    if found is None or (found[2] or b"0") not in UNITS:
        return None
    return label - int(found[1]) * UNITS[found[2] or b"0"], label
