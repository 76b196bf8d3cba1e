"""Numberings of D8 flow directions, and their conversion to one of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

D8 = (64, 128, 1, 2, 4, 8, 16, 32)  # ESRI's, which pyflwdir calls d8: N, NE, E, SE, S, SW, W, NW
PIT, NO_DIRECTION = 0, 247  # of pyflwdir's d8
NAMED_PITS = (0,)  # of a numbering that a catalog lists


@dataclass(frozen=True)
class Numbering:
    """What the values of a raster of flow directions mean.

    Attributes:
        around: values of pixels that drain N, NE, E, SE, S, SW, W, NW.
        pits: values of pixels from which water leaves.
        nodata: values of pixels without a direction, besides the file's own.
    """

    around: tuple[int, ...]
    pits: tuple[int, ...]
    nodata: tuple[int, ...] = ()

    @property
    def known(self) -> tuple[int, ...]:
        """Values of directions in ascending order, then those of pits."""
        return (*sorted(self.around), *self.pits)

    def to_d8(self, values: NDArray[np.generic], valid: NDArray[np.bool_]) -> NDArray[np.uint8]:
        """Convert directions to pyflwdir's d8, uint8 of the same shape.

        Args:
            values: of `known` where valid.
            valid: whether a pixel has a direction, or is a pit.
        """
        found = np.full(values.shape, NO_DIRECTION, np.uint8)
        found[valid] = PIT
        for value, direction in zip(self.around, D8, strict=True):
            found[valid & (values == value)] = direction
        return found


CODES: Mapping[str, Numbering] = MappingProxyType(
    {
        # ArcGIS, HydroSHEDS, MERIT Hydro; -1 is 255 in signed bytes
        "esri": Numbering(D8, (0, 255, -1), (247,)),
        # PCRaster, LISFLOOD, wflow, CWatM: as on a keypad
        "ldd": Numbering((8, 9, 6, 3, 2, 1, 4, 7), (5,), (255, -1)),
        # 1 is east, then counterclockwise; 0 and -1 unresolved
        "taudem": Numbering((3, 2, 1, 8, 7, 6, 5, 4), (0, -1)),
        # r.watershed: 1 is northeast, then counterclockwise; negative leaves the region
        "grass": Numbering((2, 1, 8, 7, 6, 5, 4, 3), (0, -1, -2, -3, -4, -5, -6, -7, -8)),
        "clockwise": Numbering((1, 2, 3, 4, 5, 6, 7, 8), (0,)),  # from north
        "clockwise_east": Numbering((7, 8, 1, 2, 3, 4, 5, 6), (0,)),
        "whitebox": Numbering((128, 1, 2, 4, 8, 16, 32, 64), (0,)),
    }
)


def numbering_of(codes: str | tuple[int, ...]) -> Numbering:
    """The numbering of a name in `CODES`, or of eight values from north clockwise."""
    if isinstance(codes, str):
        return CODES[codes]
    return Numbering(codes, tuple(set(NAMED_PITS) - set(codes)))
