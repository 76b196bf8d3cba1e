"""Correct the pixel coordinates that GDAL gives for GRIB messages.

GDAL sorts values into rows from the north and columns from the west. But it takes the first point
for the west also if longitudes are scanned from the east; on some projections, for the south-west
corner whatever the scan; and it takes Gaussian grids, whose 2 N parallels are the roots of a
Legendre polynomial, for even ones. So the grid is read from the
message: WMO Manual on Codes, FM 92, section 2 of edition 1 and section 3 of edition 2.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pyproj import CRS, Transformer
from scipy.special import roots_legendre

from pipeline.errors import InputError
from pipeline.regrid.axis import edges_of
from pipeline.regrid.placement import degrees_of
from pipeline.regrid.separable import FULL_TURN

HEAD_BYTES = 2**16  # at a file's start, which hold the first message's grid
APART = 0.5  # pixels by which GDAL and a message may differ on the first point
LATITUDE_TOLERANCE = 2e-3  # degrees: edition 1 rounds to thousandths
WESTWARDS, NORTHWARDS = 0x80, 0x40  # flags of the scan, code table 8 and flag table 3.4
GEOGRAPHIC_1, PLANE_1, GAUSSIAN_1 = {0, 4, 10, 14}, {1, 3, 5}, {4, 14}  # code table 6
GEOGRAPHIC_2, GAUSSIAN_2 = {0, 1, 40, 41}, {40, 41}  # templates 3.n
PLANE_2 = {10: 60, 20: 65, 30: 65, 31: 65, 140: 64}  # and the octet of their scan


@dataclass(frozen=True)
class GribGrid:
    """The grid of a message.

    Attributes:
        geographic: along latitudes and longitudes, and not on a plane.
        first: the first point's latitude and longitude [degrees].
        last: the last point's; None on a plane.
        scan: flags.
        parallels: N of a Gaussian grid, else None.
    """

    geographic: bool
    first: tuple[float, float]
    last: tuple[float, float] | None
    scan: int
    parallels: int | None

    def edges(
        self, x_edges: NDArray[np.float64], y_edges: NDArray[np.float64], crs: CRS
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Correct the edges of columns (from the west) and rows (from the north) of GDAL.

        Args:
            x_edges, y_edges: of GDAL, with correct widths.
            crs: of the message.

        Raises:
            InputError: rows are not parallels of the Gaussian grid; on a plane, GDAL and the
                message disagree on the first point.
        """
        if not self.geographic:
            self._require_first(x_edges, y_edges, crs)
            return x_edges, y_edges
        assert self.last is not None
        if self.scan & WESTWARDS:
            west = self.last[1] - (x_edges[1] - x_edges[0]) / 2
            turns = round((x_edges[0] - west) / FULL_TURN)
            x_edges = x_edges + (west + turns * FULL_TURN - x_edges[0])
        return x_edges, y_edges if self.parallels is None else self._parallels(len(y_edges) - 1)

    def _require_first(
        self, x_edges: NDArray[np.float64], y_edges: NDArray[np.float64], crs: CRS
    ) -> None:
        """Raise if GDAL and the message disagree on the first point.

        Libraries differ on grids that are scanned from the north, and a message does not tell which
        convention its producer followed.
        """
        to_plane = Transformer.from_crs(degrees_of(crs), crs, always_xy=True)
        expected = to_plane.transform(self.first[1], self.first[0])
        column = slice(-2, None) if self.scan & WESTWARDS else slice(2)
        row = slice(-2, None) if self.scan & NORTHWARDS else slice(2)
        x, y = x_edges[column].mean(), y_edges[row].mean()
        if np.hypot(x - expected[0], y - expected[1]) > APART * np.abs(np.diff(x_edges[:2]))[0]:
            edge = f"{'north' if row.stop else 'south'}-{'west' if column.stop else 'east'}"
            raise InputError(
                f"its first point, {self.first[0]:g} N, {self.first[1]:g} E, is scanned as the "
                f"{edge} corner, but GDAL takes it for another one: expected a grid "
                "that is scanned from the south-west corner"
            )

    def _parallels(self, rows: int) -> NDArray[np.float64]:
        assert self.parallels is not None
        assert self.last is not None
        ends = sorted((self.first[0], self.last[0]), reverse=True)
        known = np.degrees(np.arcsin(roots_legendre(2 * self.parallels)[0]))[::-1]
        start = int(np.abs(known - ends[0]).argmin())
        found = known[start : start + rows]
        if len(found) < rows or np.abs(found[[0, -1]] - ends).max() > LATITUDE_TOLERANCE:
            raise InputError(
                f"{rows} rows from {ends[0]:g} to {ends[1]:g} degrees: expected parallels of the "
                f"Gaussian grid of N = {self.parallels}"
            )
        return edges_of(found, "latitudes")


def grib_grid(head: bytes) -> GribGrid | None:
    """Read the grid of the first message in a file's first bytes; None for unsupported grids."""
    start = head.find(b"GRIB")
    if start < 0 or len(head) < start + 16:
        return None
    return (_edition_1 if head[start + 7] == 1 else _edition_2)(head[start:])


def _edition_1(message: bytes) -> GribGrid | None:
    product = message[8:]
    section = product[_unsigned(product, 1, 3) :]
    if not product[7] & 0x80 or len(section) < 28 or section[5] not in GEOGRAPHIC_1 | PLANE_1:
        return None
    geographic = section[5] in GEOGRAPHIC_1
    return GribGrid(
        geographic=geographic,
        first=(_signed(section, 11, 13) / 1e3, _signed(section, 14, 16) / 1e3),
        last=(_signed(section, 18, 20) / 1e3, _signed(section, 21, 23) / 1e3)
        if geographic
        else None,
        scan=section[27],
        parallels=_unsigned(section, 26, 27) if section[5] in GAUSSIAN_1 else None,
    )


def _edition_2(message: bytes) -> GribGrid | None:
    at = 16
    while len(message) >= at + 5 and message[at + 4] < 3:
        at += max(5, _unsigned(message, at + 1, at + 4))
    section = message[at:]
    if len(section) < 72 or section[4] != 3:
        return None
    template = _unsigned(section, 13, 14)
    if template in PLANE_2:
        return GribGrid(
            geographic=False,
            first=(_signed(section, 39, 42) / 1e6, _signed(section, 43, 46) / 1e6),
            last=None,
            scan=section[PLANE_2[template] - 1],
            parallels=None,
        )
    if template not in GEOGRAPHIC_2:
        return None
    basic, parts = _unsigned(section, 39, 42), _unsigned(section, 43, 46)
    unit = 1e-6 if basic in (0, 2**32 - 1) or parts in (0, 2**32 - 1) else basic / parts
    return GribGrid(
        geographic=True,
        first=(_signed(section, 47, 50) * unit, _signed(section, 51, 54) * unit),
        last=(_signed(section, 56, 59) * unit, _signed(section, 60, 63) * unit),
        scan=section[71],
        parallels=_unsigned(section, 68, 71) if template in GAUSSIAN_2 else None,
    )


def _unsigned(octets: bytes, first: int, last: int) -> int:
    """Unsigned integer in some octets, counted from 1 as in the manual."""
    return int.from_bytes(octets[first - 1 : last], "big")


def _signed(octets: bytes, first: int, last: int) -> int:
    """Integer in some octets, as sign and magnitude."""
    number, sign = _unsigned(octets, first, last), 1 << (8 * (last - first + 1) - 1)
    return -(number - sign) if number & sign else number
