"""Fetch the part of AORC, NOAA's hourly analysis, that a catalog needs.

NOAA publishes one Zarr store per year with dimensions time, latitude and longitude
(https://registry.opendata.aws/noaa-nws-aorc). xarray opens it, crops it to the chunks that hold the
region and the period, and writes a local store of the same layout. Chunks are fetched one by one,
so that an interrupted fetch continues; metadata is written last, so that nobody reads a store
without all of its chunks.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path

import pandas as pd
import xarray as xr
import zarr
from zarr.abc.store import ByteRequest
from zarr.core.buffer import Buffer, BufferPrototype, default_buffer_prototype
from zarr.errors import ZarrUserWarning
from zarr.storage import MemoryStore

from pipeline.catalog.models import Catalog
from pipeline.errors import InputError, RunError
from pipeline.fetch.files import Item
from pipeline.fetch.series import HOUR, labelled, labels, template_folder
from pipeline.fetch.services import Service
from pipeline.regrid.grid import Grid
from pipeline.watersheds.coverage import region_grid
from pipeline.watersheds.polygons import read_watersheds

DIMENSIONS = ("time", "latitude", "longitude")


class ServiceStore(MemoryStore):
    """A read-only Zarr store whose contents are requested from a service, with its retries."""

    def __init__(self, service: Service, url: str) -> None:
        super().__init__(read_only=True)
        self.service, self.url = service, url

    def __str__(self) -> str:
        return self.url

    async def get(
        self,
        key: str,
        prototype: BufferPrototype | None = None,
        byte_range: ByteRequest | None = None,
    ) -> Buffer | None:
        """The content of a key, None where the service has none."""
        assert byte_range is None, "whole chunks are read"
        content = await asyncio.to_thread(self.service.get, f"{self.url}/{key}")
        buffer = (prototype or default_buffer_prototype()).buffer
        return None if content is None else buffer.from_bytes(content)


@dataclass(frozen=True)
class YearStore:
    """The local store of one year.

    Attributes:
        path: of the local store.
        url: of the published store.
        variable: name of the variable.
        part: the variable and its coordinates, cropped and lazy, with packed values.
        window: bounds of `part` in the published variable, per dimension, in whole chunks.
    """

    path: Path
    url: str
    variable: str
    part: xr.Dataset
    window: tuple[slice, ...]

    @property
    def origin(self) -> dict[str, object]:
        """Attributes of the local variable that say where it was cropped from."""
        window = [int(end) for bound in self.window for end in (bound.start, bound.stop)]
        return {"source": f"{self.url}/{self.variable}", "window": window}

    def items(self, service: Service) -> Iterator[Item]:
        """The chunks, each to be fetched as one file."""
        sizes = self.part[self.variable].encoding["chunks"]
        bounds = list(zip(self.window, sizes, strict=True))
        for here in product(*(range(-(-(b.stop - b.start) // n)) for b, n in bounds)):
            there = [k + b.start // n for k, (b, n) in zip(here, bounds, strict=True)]
            region = [slice(k * n, (k + 1) * n) for k, n in zip(here, sizes, strict=True)]
            url = f"{self.url}/{self.variable}/{'.'.join(map(str, there))}"
            yield Item(
                path=self.path / self.variable / ".".join(map(str, here)),
                source=url,
                make=partial(self.encode, dict(zip(DIMENSIONS, region, strict=True))),
                size=partial(service.size, url),
            )

    def encode(self, region: dict[str, slice]) -> bytes | None:
        """Fetch one chunk and encode it for the local store; None if it is all fill values."""
        contents: dict[str, Buffer] = {}
        self.part.drop_vars(DIMENSIONS).isel(region).to_zarr(
            MemoryStore(contents), zarr_format=2, consolidated=False, write_empty_chunks=False
        )
        chunk = contents.get(f"{self.variable}/0.0.0")
        return None if chunk is None else chunk.to_bytes()

    @property
    def finished(self) -> bool:
        """Whether the local store is complete for this variable and window."""
        try:
            group = zarr.open_consolidated(self.path, mode="r", zarr_format=2)
            attributes = group[self.variable].attrs
        except (FileNotFoundError, ValueError, KeyError):
            return False
        return all(attributes.get(key) == value for key, value in self.origin.items())

    def begin(self) -> None:
        """Make the local store unreadable, and remove variables of other windows from it."""
        (self.path / ".zmetadata").unlink(missing_ok=True)
        for dimension in DIMENSIONS:
            shutil.rmtree(self.path / dimension, ignore_errors=True)
        for array in self.path.glob("*/.zarray"):
            window = json.loads(array.with_name(".zattrs").read_text()).get("window")
            if array.parent.name == self.variable or window != self.origin["window"]:
                array.unlink()  # its chunks stay: they may be those of the new window

    def finish(self) -> None:
        """Write coordinates and metadata, after all chunks."""
        variable = self.part[self.variable].assign_attrs(self.origin)
        with warnings.catch_warnings():  # of folders of chunks that still lack metadata
            warnings.simplefilter("ignore", ZarrUserWarning)
            self.part.assign({self.variable: variable}).chunk().to_zarr(
                self.path, mode="a", compute=False, zarr_format=2, consolidated=True
            )


def plan_aorc(
    catalog: Catalog, name: str, service: Service
) -> tuple[Path, list[Item], list[YearStore]]:
    """Plan the fetch of a forcing.

    Requests metadata and coordinates of the published stores; writes nothing.

    Returns:
        The folder that holds the files, the chunks to fetch, and the stores that they make.

    Raises:
        InputError: the catalog's path is not one store per year, or the region is not known.
        RunError: the service has no such year or variable, or another layout.
    """
    assert catalog.fetch is not None
    source, variable = catalog.forcings[name], catalog.fetch.forcings[name].variable
    key = f"forcings.{name}.files"
    if not source.files.endswith("{time:%Y}.zarr"):
        raise InputError(
            f"{catalog.path}: {key}: {source.files!r}: expected a name that ends with "
            "{time:%Y}.zarr, one store per year as AORC is published"
        )
    bounds = _bounds(catalog)
    wanted = labels(catalog, name, HOUR)
    stores = []
    for year in sorted(set(wanted.year)):
        hours = wanted[wanted.year == year]
        path = labelled(catalog, source.files, hours[0])
        url = f"{service.url}/{year}.zarr"
        published = _open_published(service, url, variable)
        window = _window(url, published[variable], hours, bounds)
        part = published[[variable]].isel(dict(zip(DIMENSIONS, window, strict=True)))
        stores.append(YearStore(path, url, variable, part, window))
    items = [item for store in stores for item in store.items(service)]
    return template_folder(catalog, source.files, key), items, stores


def _bounds(catalog: Catalog) -> tuple[float, float, float, float]:
    """West, south, east, north of the region's grid [degrees]."""
    if catalog.bounds is not None:
        return Grid.covering(catalog.bounds).bounds
    return region_grid(catalog, read_watersheds(catalog)).bounds


def _open_published(service: Service, url: str, variable: str) -> xr.Dataset:
    """A published store, lazy, with packed values and decoded times."""
    try:
        published = xr.open_zarr(
            ServiceStore(service, url), chunks=None, consolidated=True, mask_and_scale=False
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise RunError(
            f"{url}/.zmetadata: not readable ({reason}): expected consolidated metadata"
        ) from error
    if variable not in published.data_vars:
        found = ", ".join(sorted(map(str, published.data_vars)))
        raise RunError(f"{url}: has {found}: expected {variable}")
    if (dimensions := published[variable].dims) != DIMENSIONS:
        raise RunError(f"{url}: {variable} has dimensions {dimensions}: expected {DIMENSIONS}")
    for name in DIMENSIONS:
        index = published.indexes.get(name)
        if index is None or not (index.is_monotonic_increasing and index.is_unique):
            raise RunError(f"{url}: {name}: expected a coordinate whose values ascend")
    return published


def _window(
    url: str,
    variable: xr.DataArray,
    hours: pd.DatetimeIndex,
    bounds: tuple[float, float, float, float],
) -> tuple[slice, ...]:
    """The part of a variable that holds the hours and the region, in whole chunks."""
    west, south, east, north = bounds
    limits = (hours[0], hours[-1]), (south, north), (west, east)
    window = []
    for name, (low, high), n in zip(DIMENSIONS, limits, variable.encoding["chunks"], strict=True):
        index = variable.indexes[name]
        half = (index[1] - index[0]) / 2  # of an hour or a pixel
        found = index.slice_indexer(low - half, high + half)
        if found.start == found.stop:
            raise RunError(
                f"{url}: {name} from {index[0]} to {index[-1]}: expected some within {low} to "
                f"{high}"
            )
        last = min(-(-found.stop // n) * n, index.size)
        window.append(slice(found.start // n * n, last))
    return tuple(window)
