"""Read the table of watersheds: their numbers, windows and cells."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import zarr

from pipeline.errors import InputError
from pipeline.regrid.grid import Grid
from pipeline.storage import Location
from pipeline.store import cf
from pipeline.store.root import GRID, TABLES, array_of, attributes_of, read_array, read_arrays
from pipeline.store.tables import WATERSHEDS

SHOWN_SITES = 8  # of a message


@dataclass(frozen=True, eq=False)
class SiteTable:
    """The columns of a store's table of watersheds.

    Attributes:
        site_no: site numbers, sorted.
        text: columns of text by name, each with a value a site.
        numbers: columns of numbers by name, (site,).
        region: grid of the region.
        step_seconds: length of a step.
        about: attributes of every watershed.
    """

    site_no: tuple[str, ...]
    text: Mapping[str, tuple[str, ...]]
    numbers: Mapping[str, np.ndarray]
    region: Grid
    step_seconds: float
    about: Mapping[str, Any]

    @cached_property
    def _positions(self) -> dict[str, int]:
        return {site: position for position, site in enumerate(self.site_no)}

    @cached_property
    def first_cell(self) -> np.ndarray:
        """Position of the first cell of each site, and the number of all cells, (site + 1,)."""
        return np.append(0, np.cumsum(self.numbers["cell_count"], dtype=np.int64))

    def find(self, path: Location, site_no: str) -> int:
        """Position of a site.

        Raises:
            InputError: there is none of this number in the store at `path`.
        """
        found = self._positions.get(site_no)
        if found is None:
            more = len(self.site_no) - SHOWN_SITES
            raise InputError(
                f"{path}: has no watershed {site_no!r}: expected one of "
                f"{', '.join(self.site_no[:SHOWN_SITES])}{f' and {more} more' * (more > 0)}"
            )
        return found

    def window(self, site: int) -> tuple[slice, slice]:
        """Slices (rows, columns) of the region at which a watershed's window lies."""
        row, column, rows, columns = (
            int(self.numbers[f"window_{name}"][site])
            for name in ("row", "column", "rows", "columns")
        )
        return slice(row, row + rows), slice(column, column + columns)

    def grid(self, site: int) -> Grid:
        """Grid of a watershed's window."""
        rows, columns = self.window(site)
        return Grid(
            self.region.west + columns.start,
            self.region.north - rows.start,
            columns.stop - columns.start,
            rows.stop - rows.start,
        )

    def read_cells(self, root: zarr.Group, site: int) -> dict[str, np.ndarray]:
        """Read coverage and flow distance on a watershed's window, float64 (y, x) each."""
        part = slice(int(self.first_cell[site]), int(self.first_cell[site + 1]))
        names = [f"{WATERSHEDS}/{name}" for name in cf.CELLS]
        cells = dict(zip(cf.CELLS, read_arrays(root, names, part), strict=True))
        return self.place_cells(site, cells)

    def place_cells(self, site: int, found: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Place coverage and flow distance of a watershed's cells (cell,) on its window (y, x)."""
        rows, columns = self.window(site)
        shape = rows.stop - rows.start, columns.stop - columns.start
        at = found["row"] - rows.start, found["column"] - columns.start
        coverage, distance = np.zeros(shape), np.full(shape, np.nan)
        coverage[at], distance[at] = found["coverage"], found["flow_distance"]
        return {"coverage": coverage, "flow_distance": distance}

    def read_polygon(self, root: zarr.Group, site: int) -> str:
        """Read the outline of a watershed, as WKT."""
        return str(read_array(array_of(root, f"{WATERSHEDS}/polygon"), site))

    def attributes(self, site: int) -> dict[str, Any]:
        """Attributes of a watershed; unknown values are left out, because NetCDF has no null."""
        number = {name: float(column[site]) for name, column in self.numbers.items()}
        known = {
            "discharge_shift_s": number["discharge_shift"],
            "drainage_area_m2": number["drainage_area"],
            "reported_drainage_area_m2": number["reported_drainage_area"],
            "traced_drainage_area_m2": number["traced_drainage_area"],
            "slope": number["slope"],
        }
        return {
            **self.about,
            "site_no": self.site_no[site],
            "name": self.text["name"][site],
            "outlet": [number["longitude"], number["latitude"]],
            **{name: value for name, value in known.items() if np.isfinite(value)},
            "flow_distance_method": self.text["flow_distance_method"][site],
        }


def read_site_numbers(root: zarr.Group) -> list[str]:
    """Read the site numbers of the watersheds, sorted."""
    return [str(site) for site in read_array(array_of(root, f"{WATERSHEDS}/site_no"))]


def read_sites(root: zarr.Group) -> SiteTable:
    """Read the table of watersheds, without their cells; cached until the table changes.

    Raises:
        InputError: a chunk is damaged.
    """
    key = str(root.store), str(root.attrs[TABLES])
    if key not in _TABLES:
        table = _read_sites(root)
        _TABLES.clear()
        _TABLES[key] = table
        return table
    return _TABLES[key]


# The table of the store that this process read last, by its path and stamp: heads of one store are
# opened one after the other.
_TABLES: dict[tuple[str, str], SiteTable] = {}


def _read_sites(root: zarr.Group) -> SiteTable:
    attributes = attributes_of(root)
    text = ["site_no", "name", "flow_distance_method"]
    columns = [*text, *cf.OUTLET, *cf.COLUMNS]
    found = read_arrays(root, [f"{WATERSHEDS}/{name}" for name in columns])
    values = dict(zip(columns, found, strict=True))
    table = root[WATERSHEDS]
    assert isinstance(table, zarr.Group)
    return SiteTable(
        site_no=tuple(map(str, values["site_no"])),
        text={name: tuple(map(str, values[name])) for name in text},
        numbers={name: values[name] for name in (*cf.OUTLET, *cf.COLUMNS)},
        region=Grid(*attributes[GRID]),
        step_seconds=attributes["step_seconds"],
        about=attributes_of(table),
    )
