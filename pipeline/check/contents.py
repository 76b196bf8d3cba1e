"""A store opened for checking, and the verdicts of its checks."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import yaml
import zarr
from pydantic import ValidationError

from pipeline.catalog.models import Catalog
from pipeline.errors import InputError
from pipeline.storage import Location
from pipeline.store import cf
from pipeline.store.root import array_of, attributes_of, open_root, read_array, read_arrays
from pipeline.store.sites import SiteTable, read_site_numbers, read_sites
from pipeline.store.tables import GAUGES, WATERSHEDS
from pipeline.units import runoff_depth

Status = Literal["PASS", "WARN", "FAIL"]


@dataclass(frozen=True)
class Check:
    """Outcome of a check: its name, status, and the numbers behind it."""

    name: str
    status: Status
    detail: str


def verdict(name: str, fails: list[str], warns: list[str], passes: str) -> Check:
    """Make a check from its findings: FAIL or WARN with the first few, else PASS."""
    found = fails or warns
    if not found:
        return Check(name, "PASS", passes)
    more = f" and {len(found) - 3} more" if len(found) > 3 else ""
    return Check(name, "FAIL" if fails else "WARN", "; ".join(found[:3]) + more)


@dataclass(frozen=True, eq=False)
class Contents:
    """A store opened for checking: its root, its own catalog and the steps in a block."""

    path: Location
    root: zarr.Group
    catalog: Catalog
    block_steps: int

    @cached_property
    def sites(self) -> list[str]:
        """Site numbers of the watersheds, sorted."""
        return read_site_numbers(self.root)

    @cached_property
    def table(self) -> SiteTable:
        """Table of the watersheds."""
        return read_sites(self.root)

    @cached_property
    def steps(self) -> int:
        """Steps in the catalog's period."""
        return len(self.catalog.period.times)

    @property
    def blocks(self) -> list[slice]:
        """Steps of each block."""
        return [slice(k, k + self.block_steps) for k in range(0, self.steps, self.block_steps)]

    @cached_property
    def _cells(self) -> dict[str, np.ndarray]:
        """Cells of all watersheds, (cell,) each."""
        names = [f"{WATERSHEDS}/{name}" for name in cf.CELLS]
        return dict(zip(cf.CELLS, read_arrays(self.root, names), strict=True))

    @cached_property
    def _cell_area(self) -> np.ndarray:
        """Areas of the region's cells [m2], (y, x)."""
        return read_array(array_of(self.root, "region/cell_area"))

    @cached_property
    def _records(self) -> dict[str, tuple[int, np.ndarray]]:
        """By name, the records that were read last, and the position of the first of them."""
        return {}

    def layer(self, site: str, name: str) -> np.ndarray:
        """Coverage or flow distance of a watershed on its window, (y, x)."""
        position = self._position(site)
        first, last = self.table.first_cell[position : position + 2].tolist()
        cells = {name: values[first:last] for name, values in self._cells.items()}
        return self.table.place_cells(position, cells)[name]

    def cell_area(self, site: str) -> np.ndarray:
        """Areas of the cells of a watershed's window [m2], (y, x), as the region states them."""
        return self._cell_area[self.table.window(self._position(site))]

    def record(self, site: str, name: str) -> np.ndarray:
        """Discharge or flag of a watershed, (time,).

        Records that are compressed together are read once if the sites are asked for in order.
        """
        position = self._position(site)
        first, records = self._records.get(name, (0, np.empty((0, 0))))
        if not first <= position < first + len(records):
            array = array_of(self.root, f"{GAUGES}/{name}")
            first = position - position % array.chunks[0]
            records = read_array(array, slice(first, first + array.chunks[0]))
            self._records[name] = first, records
        return records[position - first]

    def runoff(self, site: str) -> np.ndarray:
        """Runoff of a watershed [mm per step], float64 (time,)."""
        area = float(self.about(site)["drainage_area_m2"])
        discharge = self.record(site, "discharge").astype(np.float64)
        return runoff_depth(discharge, area, self.catalog.period.step_seconds)

    def about(self, site: str) -> dict[str, Any]:
        """A watershed's attributes."""
        return self.table.attributes(self._position(site))

    def _position(self, site: str) -> int:
        return self.table.find(self.path, site)


def open_contents(path: Location) -> Contents:
    """Open a store for checking; it need not be finished.

    Raises:
        InputError: there is no store at `path`, or its catalog is not valid any more.
    """
    root = open_root(path)
    attributes = attributes_of(root)
    try:
        catalog = Catalog.model_validate(
            yaml.safe_load(attributes["provenance"]["catalog"]["text"])
        )
    except ValidationError as error:
        raise InputError(
            f"{path}: its catalog is not valid ({error.error_count()} errors): expected a store of "
            "this version"
        ) from error
    return Contents(path, root, catalog, int(attributes["block_steps"]))
