"""The store: opening it, its done-marks, and what makes one store another's continuation.

    /                      provenance, and progress(block): which blocks of time are done
    /region                the forcings on the region's grid, with their valid fractions
    /gauges                the discharge records
    /watersheds/<site_no>  the forcings clipped to a watershed's window, coverage, flow distance,
                           discharge and runoff

Zarr v3 without consolidated metadata, attributes after CF 1.11, in a folder or at a URL.
`pipeline.store.layout` lays it out.
A block's mark in `progress` is the stamp of the raw files it was made from, 0 while it is not
done. It is written after all of the block's data, and a chunk belongs to one block only.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from pipeline.errors import InputError
from pipeline.storage import located
from pipeline.store.root import EXTENDING, array_of, open_root, read_array, read_marks

if TYPE_CHECKING:
    import xarray as xr


def list_sites(path: str | os.PathLike[str]) -> list[str]:
    """Site numbers of the store's watersheds, sorted.

    Raises:
        InputError: there is no store at `path`.
    """
    return [str(site) for site in read_array(array_of(open_root(path), "gauges/gauge"))]


def open_watershed(path: str | os.PathLike[str], site_no: str) -> xr.Dataset:
    """A watershed of a finished store, read when used.

    Variables: precipitation (time, y, x) in mm per step and the other forcings alike;
    coverage (y, x) from 0 to 1; flow_distance (y, x) in m; discharge (time) in m3 s-1; flag (time);
    runoff (time) in mm per step. Missing is NaN. `time` is the start of the step.
    Attributes: site_no, name, outlet, drainage areas in m2, method, polygon as WKT, synthetic.

    Raises:
        InputError: no store, no such watershed, or blocks of time that are not done.
    """
    sites = list_sites(path)
    if site_no not in sites:
        raise InputError(
            f"{path}: has no watershed {site_no!r}: expected one of {', '.join(sites)}"
        )
    return _open(path, f"watersheds/{site_no}")


def open_region(path: str | os.PathLike[str]) -> xr.Dataset:
    """The region of a finished store, read when used: the forcings (time, y, x), their valid
    fractions, and cell_area (y, x) in m2.

    Raises:
        InputError: no store, or blocks of time that are not done.
    """
    return _open(path, "region")


def open_gauges(path: str | os.PathLike[str]) -> xr.Dataset:
    """The gauges of a finished store: discharge (gauge, time) in m3 s-1, flag (gauge, time),
    cell_y (gauge) and cell_x (gauge), row and column of the outlet's cell in the region.

    Raises:
        InputError: no store, or blocks of time that are not done.
    """
    return _open(path, "gauges")


def _open(path: str | os.PathLike[str], group: str) -> xr.Dataset:
    path = located(path)
    root = open_root(path)
    if EXTENDING in root.attrs:
        raise InputError(
            f"{path}: the extension of its period was interrupted: expected a finished store; "
            "`pipeline run` with the same catalog finishes it"
        )
    marks = read_marks(root)
    if not marks.all():
        raise InputError(
            f"{path}: {int((marks == 0).sum())} of {marks.size} blocks are not done: expected a "
            "finished store; `pipeline run` with the same catalog finishes it"
        )
    import xarray as xr  # readers only: a run, which needs none of it, starts faster without

    return xr.open_zarr(
        str(path), group=group, chunks=None, consolidated=False, zarr_format=3, decode_coords="all"
    )
