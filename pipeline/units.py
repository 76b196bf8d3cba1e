"""Conversions, each a named constant with its algebra beside it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np

M_PER_FT = 0.3048  # international foot, exact
M3_PER_FT3 = M_PER_FT**3  # (0.3048 m)^3
M_PER_MILE = 1609.344  # 5280 ft, exact
M2_PER_MI2 = M_PER_MILE**2
M2_PER_KM2 = 1e6
MM_PER_M = 1000.0

DISCHARGE_M3_S = {"m3/s": 1.0, "ft3/s": M3_PER_FT3}  # multiply by this to get m3 s-1
MM_PER_INCH = 25.4  # exact
SECONDS_PER_HOUR, SECONDS_PER_DAY = 3600.0, 86400.0
ZERO_CELSIUS_K = 273.15

AREA_M2 = {"m2": 1.0, "km2": M2_PER_KM2, "mi2": M2_PER_MI2}  # multiply by this to get m2


@dataclass(frozen=True)
class ForcingUnit:
    """A unit in which rasters are published.

    Attributes:
        store: unit of the store that it turns into.
        kind: what a number is: an amount in the source's interval, a rate, or a state.
        factor, offset: number * factor + offset is in `store`; of a rate, in `store` per second.
    """

    store: Literal["mm", "degC"]
    kind: Literal["amount", "rate", "state"]
    factor: float
    offset: float = 0.0


FORCING_UNITS = {  # kg m-2: of water, 1000 kg m-3, of which 1 kg on 1 m2 stands 1 mm high
    "mm": ForcingUnit("mm", "amount", 1.0),
    "m": ForcingUnit("mm", "amount", MM_PER_M),
    "inch": ForcingUnit("mm", "amount", MM_PER_INCH),
    "kg m-2": ForcingUnit("mm", "amount", 1.0),
    "mm/h": ForcingUnit("mm", "rate", 1 / SECONDS_PER_HOUR),
    "mm/day": ForcingUnit("mm", "rate", 1 / SECONDS_PER_DAY),
    "kg m-2 s-1": ForcingUnit("mm", "rate", 1.0),
    "degC": ForcingUnit("degC", "state", 1.0),
    "K": ForcingUnit("degC", "state", 1.0, -ZERO_CELSIUS_K),
}
SPELLINGS = {  # words of units in files, as CF, GRIB, GDAL and agencies write them
    "mm": "mm", "millimeter": "mm", "millimeters": "mm", "millimetre": "mm", "millimetres": "mm",
    "m": "m", "meter": "m", "meters": "m", "metre": "m", "metres": "m",
    "in": "inch", "inch": "inch", "inches": "inch",
    "kg": "kg", "m-2": "m-2", "m2-1": "m-2",
    "s-1": "s-1", "sec-1": "s-1", "second-1": "s-1",
    "h-1": "h-1", "hr-1": "h-1", "hour-1": "h-1",
    "d-1": "day-1", "day-1": "day-1",
    "k": "K", "kelvin": "K",
    "c": "degC", "degc": "degC", "celsius": "degC", "degree_celsius": "degC",
    "degrees_celsius": "degC", "deg_c": "degC",
}  # fmt: skip
PHRASES = {"mm s-1": "kg m-2 s-1", "mm h-1": "mm/h", "mm day-1": "mm/day"}


def forcing_unit(text: str) -> str | None:
    """The name in `FORCING_UNITS` of a unit as a file spells it: `kg/m^2`, `kg m**-2`, `[mm/hr]`.

    None where it is no unit of a forcing, or none that is known.
    """
    plain = re.sub(r"[\[\]()^]|\*\*", "", text).lower().replace(".", " ").strip()
    first, *divisors = plain.split("/")
    words = first.split() + [f"{word.strip()}-1" for word in divisors]
    spelled = " ".join(SPELLINGS.get(word, "?") for word in words)
    name = PHRASES.get(spelled, spelled)
    return name if name in FORCING_UNITS else None


Depth = TypeVar("Depth", float, np.ndarray)


def runoff_depth(discharge: Depth, area: float, step_seconds: float) -> Depth:
    """Runoff [mm per step] of a discharge [m3 s-1] from `area` [m2] in steps of `step_seconds`."""
    return discharge * (step_seconds / area * MM_PER_M)


def discharge_of(runoff: Depth, area: float, step_seconds: float) -> Depth:
    """Discharge [m3 s-1] of a runoff depth [mm per step]: the inverse of `runoff_depth`."""
    return runoff * (area / (step_seconds * MM_PER_M))
