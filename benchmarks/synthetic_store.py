"""A store of made-up watersheds, with the parts that `model` reads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import xarray as xr
import zarr

from benchmarks.synthetic import CELL_AREA, LATITUDE
from model.inputs.watershed import HeadData
from pipeline.store.root import LAYOUT, PROGRESS


def write_store(heads: Sequence[HeadData], path: Path) -> None:
    """Write a store of watersheds that share their steps."""
    root = zarr.open_group(path, mode="w", zarr_format=3)
    root.attrs.update(
        layout=LAYOUT, title="made-up watersheds", synthetic=1, provenance={"created": ""}
    )
    root.create_array(PROGRESS, data=np.ones(1, np.uint64))
    sites = np.array([head.site_no for head in heads], np.dtypes.StringDType())
    root.create_array("gauges/site_no", data=sites)
    for head in heads:
        group = f"watersheds/{head.site_no}"
        _as_stored(head).to_zarr(path, group=group, mode="a", consolidated=False, zarr_format=3)


def _as_stored(head: HeadData) -> xr.Dataset:
    """Return a watershed's group: fields on its window, in physical units."""

    def on_map(values: np.ndarray) -> tuple[tuple[str, ...], np.ndarray]:
        """Values (..., N) of cells as fields (..., y, x)."""
        field = np.zeros((*values.shape[:-1], *head.inside.shape), np.float32)
        field[..., head.inside] = values
        return ("time", "y", "x")[-field.ndim :], field

    forcings = {}
    for channel, values in zip(head.channels, head.forcing.swapaxes(0, 1), strict=True):
        mean, deviation = head.standard.get(channel, (0.0, 1.0))
        forcings[channel] = on_map(values * deviation + mean)
    rows = head.inside.shape[0]
    return xr.Dataset(
        {
            **forcings,
            "coverage": on_map(head.coverage),
            "flow_distance": on_map(head.distance),
            "cell_area": (("y", "x"), np.full(head.inside.shape, CELL_AREA)),
            "discharge": ("time", head.discharge),
            "runoff": ("time", head.runoff),
        },
        coords={"time": head.times, "y": LATITUDE + np.arange(rows, 0, -1) / 12},
        attrs={
            "name": head.name,
            "drainage_area_m2": head.area,
            "discharge_shift_s": 0.0,
            "slope": 3e-3,
            "synthetic": 1,
        },
    )
