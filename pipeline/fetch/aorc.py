"""AORC: NOAA's hourly analysis of 1979 and later, one Zarr store a year, cut to a region.

Only the chunks that hold the region and the period are fetched, byte for byte; they make a smaller
store whose grid is the part that whole chunks cover. The stores are Zarr format 2 with consolidated
metadata, dimensions time, latitude, longitude (https://registry.opendata.aws/noaa-nws-aorc).
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from zarr.core.buffer import Buffer, default_buffer_prototype
from zarr.storage import MemoryStore

from pipeline.catalog.models import Catalog
from pipeline.errors import InputError, RunError
from pipeline.fetch.files import Item
from pipeline.fetch.manifest import write_whole
from pipeline.fetch.series import HOUR, labelled, labels, template_folder
from pipeline.fetch.services import Service
from pipeline.regrid.grid import Grid
from pipeline.watersheds.coverage import region_grid
from pipeline.watersheds.polygons import read_watersheds

DIMENSIONS = ["time", "latitude", "longitude"]


@dataclass(frozen=True)
class YearStore:
    """The part of one year's store that a catalog needs.

    Attributes:
        path: where it lands.
        url: of the year's store.
        variable: its name.
        array, published: metadata of the variable as published, .zarray and .zattrs.
        coordinates: whole, numbers as stored.
        window: part of each of `DIMENSIONS`, in whole chunks.
    """

    path: Path
    url: str
    variable: str
    array: dict[str, Any]
    published: dict[str, Any]
    coordinates: xr.Dataset
    window: tuple[slice, slice, slice]

    @property
    def metadata(self) -> dict[str, Any]:
        """The variable's .zarray here."""
        return {**self.array, "shape": [part.stop - part.start for part in self.window]}

    @property
    def attributes(self) -> dict[str, Any]:
        """The variable's .zattrs here: those published, and where it was cut from."""
        window = [[part.start, part.stop] for part in self.window]
        return {**self.published, "source": f"{self.url}/{self.variable}", "window": window}

    def chunks(self) -> Iterator[tuple[str, str]]:
        """Keys of the chunks as published, and here."""
        sizes = self.array["chunks"]
        dot = self.array.get("dimension_separator", ".")
        firsts = [part.start // n for part, n in zip(self.window, sizes, strict=True)]
        counts = [math.ceil(n / m) for n, m in zip(self.metadata["shape"], sizes, strict=True)]
        for here in product(*map(range, counts)):
            there = [first + k for first, k in zip(firsts, here, strict=True)]
            yield dot.join(map(str, there)), dot.join(map(str, here))

    def open_for_writing(self) -> None:
        """Take the metadata away, so that nobody reads a store that is being filled."""
        (self.path / ".zmetadata").unlink(missing_ok=True)
        for dimension in DIMENSIONS:
            shutil.rmtree(self.path / dimension, ignore_errors=True)
        for array in self.path.glob("*/.zarray"):  # another variable's too, if of another window
            window = json.loads(array.with_name(".zattrs").read_text()).get("window")
            if array.parent.name == self.variable or window != self.attributes["window"]:
                array.unlink()

    @property
    def finished(self) -> bool:
        """Whether the store is there as it should be, its chunks apart."""
        folder = self.path / self.variable
        return (self.path / ".zmetadata").exists() and all(
            (folder / name).exists() and json.loads((folder / name).read_text()) == content
            for name, content in ((".zarray", self.metadata), (".zattrs", self.attributes))
        )

    def finish(self) -> None:
        """Write coordinates and metadata, after all chunks."""
        parts = dict(zip(DIMENSIONS, self.window, strict=True))
        held: dict[str, Buffer] = {}
        coordinates = self.coordinates.isel(parts).drop_encoding()
        coordinates.to_zarr(MemoryStore(held), mode="w", zarr_format=2, consolidated=False)
        content = {key: buffer.to_bytes() for key, buffer in held.items()}
        content[f"{self.variable}/.zattrs"] = json.dumps(self.attributes).encode()
        content[f"{self.variable}/.zarray"] = json.dumps(self.metadata).encode()
        for key, one in content.items():
            write_whole(self.path / key, one)
        metadata = {}
        for pattern in (".zgroup", ".zattrs", "*/.zattrs", "*/.zarray"):
            for found in sorted(self.path.glob(pattern)):
                key = found.relative_to(self.path).as_posix()
                metadata[key] = json.loads(found.read_text())
        consolidated = {"zarr_consolidated_format": 1, "metadata": metadata}
        write_whole(self.path / ".zmetadata", json.dumps(consolidated).encode())


def plan_aorc(
    catalog: Catalog, name: str, service: Service
) -> tuple[Path, list[Item], list[YearStore]]:
    """The chunks of a forcing, the folder that holds them, and the stores that they make.

    Asks the service for the stores' metadata and coordinates; writes nothing.

    Raises:
        InputError: the catalog's path is not one store a year, or its polygons are not there yet.
        RunError: the service has no such year or variable, or another layout.
    """
    assert catalog.fetch is not None
    source, variable = catalog.forcings[name], catalog.fetch.forcings[name].variable
    key = f"forcings.{name}.files"
    if not source.files.endswith("{time:%Y}.zarr"):
        raise InputError(
            f"{catalog.path}: {key}: {source.files!r}: expected a name that ends with "
            "{time:%Y}.zarr, as aorc is fetched"
        )
    bounds = _bounds(catalog)
    wanted = labels(catalog, name, HOUR)
    stores, items = [], []
    for year in sorted(set(wanted.year)):
        hours = wanted[wanted.year == year]
        url = f"{service.url}/{year}.zarr"
        path = labelled(catalog, source.files, hours[0])
        store = _plan_year(service, url, path, variable, bounds, hours)
        stores.append(store)
        for there, here in store.chunks():
            chunk = f"{url}/{variable}/{there}"
            items.append(Item(path / variable / here, chunk, *_asking(service, chunk)))
    return template_folder(catalog, source.files, key), items, stores


def _asking(
    service: Service, url: str
) -> tuple[Callable[[], bytes | None], Callable[[], int | None]]:
    return lambda: service.get(url), lambda: service.size(url)


def _bounds(catalog: Catalog) -> tuple[float, float, float, float]:
    """West, south, east, north of the region's grid [degrees]."""
    if catalog.bounds is not None:
        return Grid.covering(catalog.bounds).bounds
    return region_grid(catalog, read_watersheds(catalog)).bounds


def _plan_year(
    service: Service,
    url: str,
    path: Path,
    variable: str,
    bounds: tuple[float, float, float, float],
    hours: pd.DatetimeIndex,
) -> YearStore:
    metadata = _metadata(service, url)
    try:
        array, published = metadata[f"{variable}/.zarray"], metadata[f"{variable}/.zattrs"]
    except KeyError as error:
        found = sorted(key.removesuffix("/.zarray") for key in metadata if key.endswith("/.zarray"))
        raise RunError(f"{url}: has {', '.join(found)}: expected {variable}") from error
    if (found := published.get("_ARRAY_DIMENSIONS")) != DIMENSIONS:
        raise RunError(f"{url}: {variable} has dimensions {found}: expected {DIMENSIONS}")
    coordinates = _coordinates(service, url, metadata)
    times = pd.DatetimeIndex(xr.decode_cf(coordinates)["time"].values)
    west, south, east, north = bounds
    needed = (
        (times >= hours[0]) & (times <= hours[-1]),
        _overlapping(coordinates["latitude"].values, south, north),
        _overlapping(coordinates["longitude"].values, west, east),
    )
    window = []
    for dimension, mask, chunk in zip(DIMENSIONS, needed, array["chunks"], strict=True):
        inside = np.flatnonzero(mask)
        if not inside.size:
            values = coordinates[dimension].values
            raise RunError(
                f"{url}: {dimension} from {values.min()} to {values.max()}: expected some within "
                f"{bounds} and {hours[0]} to {hours[-1]}"
            )
        first, last = int(inside[0]) // chunk, int(inside[-1]) // chunk
        window.append(slice(first * chunk, min((last + 1) * chunk, mask.size)))
    return YearStore(
        path, url, variable, array, published, coordinates, (window[0], window[1], window[2])
    )


def _overlapping(centres: np.ndarray, low: float, high: float) -> np.ndarray:
    """Which pixels reach into low..high, bool (n,)."""
    half = abs(float(centres[1] - centres[0])) / 2 if centres.size > 1 else 0.0
    return (centres + half > low) & (centres - half < high)


def _metadata(service: Service, url: str) -> dict[str, Any]:
    """The metadata of every array and group of a store, by key."""
    content = service.get(f"{url}/.zmetadata")
    if content is None:
        raise RunError(f"{url}/.zmetadata: not there: expected a Zarr store of format 2")
    try:
        return json.loads(content)["metadata"]
    except (ValueError, KeyError, TypeError) as error:
        raise RunError(f"{url}/.zmetadata: {error}: expected consolidated metadata") from error


def _coordinates(service: Service, url: str, metadata: dict[str, Any]) -> xr.Dataset:
    """The coordinates along the dimensions, numbers as stored, in memory."""
    buffer = default_buffer_prototype().buffer
    held = {".zgroup": json.dumps(metadata.get(".zgroup", {"zarr_format": 2})).encode()}
    for name in DIMENSIONS:
        for key in (f"{name}/.zarray", f"{name}/.zattrs"):
            if key not in metadata:
                raise RunError(f"{url}: has no {key}: expected dimensions {DIMENSIONS}")
            held[key] = json.dumps(metadata[key]).encode()
        array = metadata[f"{name}/.zarray"]
        for k in range(math.ceil(array["shape"][0] / array["chunks"][0])):
            content = service.get(f"{url}/{name}/{k}")
            if content is None:
                raise RunError(f"{url}/{name}/{k}: not there: expected a chunk of a coordinate")
            held[f"{name}/{k}"] = content
    store = MemoryStore({key: buffer.from_bytes(content) for key, content in held.items()})
    with xr.open_zarr(
        store, consolidated=False, mask_and_scale=False, decode_times=False, chunks=None
    ) as opened:
        return opened.load()
