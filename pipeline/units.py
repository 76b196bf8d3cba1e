"""Units of forcings, discharge and areas: their spellings, and exact conversion factors.

Each factor is a named constant or a product of them. pint recognises spellings, such as `mm d-1`,
`kg m**-2` or `ft^3/s`; no factor is computed by it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache
from tokenize import TokenError
from typing import TYPE_CHECKING, Literal, TypeVar

import numpy as np

from pipeline.errors import InputError

if TYPE_CHECKING:
    from pint import Quantity, UnitRegistry

M_PER_FT = 0.3048  # international foot, exact
M3_PER_FT3 = M_PER_FT**3  # (0.3048 m)^3
M_PER_MILE = 1609.344  # 5280 ft, exact
M2_PER_MI2 = M_PER_MILE**2
M2_PER_KM2 = 1e6
MM_PER_M = 1000.0
MM_PER_CM = 10.0
MM_PER_INCH = 25.4  # exact
WATER_DENSITY = 1000.0  # kg m-3
MM_PER_KG_M2 = MM_PER_M / WATER_DENSITY  # depth = mass per area / density
SECONDS_PER_MINUTE, SECONDS_PER_HOUR, SECONDS_PER_DAY = 60.0, 3600.0, 86400.0
ZERO_CELSIUS_K = 273.15
DEGC_PER_DEGF = 5 / 9  # degC = (degF - 32) * 5/9
ZERO_CELSIUS_F = 32.0

M3_PER_LITRE = 1e-3
M3_PER_MEGALITRE = 1e3
# multiply by this to get m3 s-1
DISCHARGE_M3_S = {
    "m3/s": 1.0,
    "ft3/s": M3_PER_FT3,
    "l/s": M3_PER_LITRE,
    "ML/day": M3_PER_MEGALITRE / SECONDS_PER_DAY,
}
# depths over the drainage area: multiply by this and the area [m2] to get m3 s-1
RUNOFF_M_S = {
    "mm/day": 1 / (MM_PER_M * SECONDS_PER_DAY),
    "mm/h": 1 / (MM_PER_M * SECONDS_PER_HOUR),
}
AREA_M2 = {"m2": 1.0, "km2": M2_PER_KM2, "mi2": M2_PER_MI2}  # multiply by this to get m2


@dataclass(frozen=True)
class ForcingUnit:
    """A unit in which rasters are published.

    Attributes:
        store: unit of the store that it is converted to.
        kind: what a number is: an amount per interval, a rate, or a state.
        factor, offset: number * factor + offset is in `store`; for a rate, in `store` per second.
    """

    store: Literal["mm", "degC"]
    kind: Literal["amount", "rate", "state"]
    factor: float
    offset: float = 0.0


MM_PER = {"mm": 1.0, "cm": MM_PER_CM, "m": MM_PER_M, "inch": MM_PER_INCH}
SECONDS_PER = {
    "s": 1.0,
    "min": SECONDS_PER_MINUTE,
    "h": SECONDS_PER_HOUR,
    "day": SECONDS_PER_DAY,
}
FORCING_UNITS = {
    **{name: ForcingUnit("mm", "amount", mm) for name, mm in MM_PER.items()},
    "kg m-2": ForcingUnit("mm", "amount", MM_PER_KG_M2),
    **{
        f"{name}/{time}": ForcingUnit("mm", "rate", mm / seconds)
        for name, mm in MM_PER.items()
        for time, seconds in SECONDS_PER.items()
    },
    **{
        f"kg m-2 {time}-1": ForcingUnit("mm", "rate", MM_PER_KG_M2 / seconds)
        for time, seconds in SECONDS_PER.items()
    },
    "degC": ForcingUnit("degC", "state", 1.0),
    "K": ForcingUnit("degC", "state", 1.0, -ZERO_CELSIUS_K),
    "degF": ForcingUnit("degC", "state", DEGC_PER_DEGF, -ZERO_CELSIUS_F * DEGC_PER_DEGF),
}

# Names of units in lower case, and their ratios, in pint's format. pint's own registry would take
# C for coulomb and k for the Boltzmann constant, and takes 400 ms to build. A plural s is implied.
# No river is gauged in millilitres.
VOCABULARY = """
kilogram = [mass] = kg
gram = 1e-3 kilogram = g
meter = [length] = m = metre
kilometer = 1e3 meter = km = kilometre
centimeter = 1e-2 meter = cm = centimetre
millimeter = 1e-3 meter = mm = millimetre
inch = 25.4 millimeter = in = inches
foot = 304.8 millimeter = ft = feet
mile = 1609344 millimeter = mi
second = [time] = s = sec
minute = 60 second = min
hour = 3600 second = h = hr
day = 86400 second = d
liter = 1e-3 meter ** 3 = l = litre
kelvin = [temperature] = k = deg_k = degk = degree_kelvin = degrees_kelvin
degree_celsius = [celsius] = degc = c = celsius = degrees_celsius = deg_c = degree_c = degrees_c
degree_fahrenheit = [fahrenheit] = degf = f = fahrenheit = degrees_fahrenheit = deg_f
cubic_foot_per_second = foot ** 3 / second = cfs = cusec
cubic_meter_per_second = meter ** 3 / second = cms = cumec
megaliter = 1e3 meter ** 3 = ml = megalitre
"""
SYMBOLS = str.maketrans({"²": "2", "³": "3", "°": "deg"})
# Amounts in a file's own step, whatever its length: mm/step, mm timestep-1.
PER_STEP = re.compile(
    r"\s*(?:(?:/|\bper\b)\s*(?:model\s*|time[\s_-]*)?step|\b(?:time[\s_-]*)?step\s*(?:\^|\*\*)?-1)$"
)
NUMBER = re.compile(
    r"""(?P<base>\d+(?:\.\d*)?|\.\d+)
    (?:e(?P<e>-?\d) | \s*(?:\^|\*\*)\s*(?P<power>-?\d) | \s*/\s*(?P<divisor>10+))?
    (?!\d)\s*\*?\s*(?P<unit>[a-z].*)""",
    re.IGNORECASE | re.VERBOSE,
)
PER_SEVERAL = re.compile(r"([a-z].*?)\s*(?:/|\bper\b)\s*(\d+)\s*([a-z]+)", re.IGNORECASE)
# Words and operators; numbers only as exponents of one digit, so that none takes long to compute.
PRODUCT = re.compile(r"(?:[a-z_]++(?:\*\*[-+]?\d)?|[\s*/()])*+")


def recognise_unit(text: str, known: Iterable[str]) -> str | None:
    """Find the unit that a text spells.

    Args:
        text: in any case, with exponents as in `m-2`, `m^-2` or `m**-2`, divisors as in `kg/m2`,
            factors separated by blanks or dots, and brackets around it as GDAL writes them; an
            amount per step is the amount.
        known: names to choose from.

    Returns:
        The name in `known` of the same unit, or None.
    """
    known = list(known)
    if text in known:
        return text
    if not text:  # as most files have it: pint need not be loaded
        return None
    unit = _parse(text)
    if unit is None:
        return None
    return next((name for name in known if _equal(unit, _parse(name))), None)


def split_factor(text: str) -> tuple[float, str]:
    """Split a unit into a factor and the rest: `0.1 mm`, `10^-1 mm`, `1/10 mm` or `mm/3h`.

    The factor is 0 where there can be none, as in `mm/0h`.
    """
    if found := PER_SEVERAL.fullmatch(text.strip().strip("[]")):
        several = float(found[2])
        return 1 / several if several else 0.0, f"{found[1]}/{found[3]}"
    found = NUMBER.fullmatch(text.strip().strip("[]"))
    if found is None:
        return 1.0, text
    base = float(found["base"])
    if found["e"] or found["divisor"]:
        return base * 10.0 ** int(found["e"] or 0) / float(found["divisor"] or 1), found["unit"]
    return base ** int(found["power"] or 1) if base else 0.0, found["unit"]


def require_unit(text: str, known: Iterable[str]) -> str:
    """As `recognise_unit`, for a unit that has to be known.

    Raises:
        InputError: the text spells none of `known`.
    """
    known = list(known)
    found = recognise_unit(text, known)
    if found is None:
        near = get_close_matches(text, known, n=4, cutoff=0.3) if len(known) > 4 else known
        raise InputError(f"expected a unit such as {', '.join(near or known[:4])}")
    return found


@lru_cache(maxsize=1)
def _registry() -> UnitRegistry:
    from pint import UnitRegistry  # takes 0.1 s, and most catalogs spell units as they are here

    registry: UnitRegistry = UnitRegistry(None)
    for line in VOCABULARY.strip().splitlines():
        registry.define(line)
    return registry


@lru_cache(maxsize=256)
def _parse(text: str) -> Quantity | None:
    """One of a unit, None if it is not understood."""
    from pint import PintError  # pint's parser raises whatever goes wrong in it

    refused = (PintError, AssertionError, AttributeError, LookupError, RecursionError,
               SyntaxError, TokenError, TypeError, ValueError)  # fmt: skip
    plain = text.strip().strip("[]").lower().translate(SYMBOLS)
    plain = re.sub(r"\bper\b", "/", PER_STEP.sub("", plain))
    plain = re.sub(r"(?<=\w)\.(?=[a-z])", " ", plain)  # kg.m-2.s-1
    plain = re.sub(r"\bdeg(?:ree)?s?\s+(?=[ckf]$)", "deg", plain)  # degrees C
    plain = re.sub(r"(?<=[a-z])\^?(?=[-+]?\d)", "**", plain)  # m-2, m^-2
    if not PRODUCT.fullmatch(plain):
        return None
    try:
        return _registry().Quantity(1, _registry().parse_units(plain))
    except refused:
        return None


def _equal(one: Quantity, other: Quantity | None) -> bool:
    if other is None or one.dimensionless or not one.is_compatible_with(other):
        return False
    return bool(np.isclose(one.to(other.units).magnitude, 1.0, rtol=1e-9, atol=0))


def discharge_factor(units: str, area: float | None) -> float:
    """Factor from discharge in a unit of `DISCHARGE_M3_S` or `RUNOFF_M_S` to m3 s-1.

    Args:
        units: of the record.
        area: drainage area [m2], for depths.
    """
    if units in DISCHARGE_M3_S:
        return DISCHARGE_M3_S[units]
    assert area is not None, "a depth needs the area that it lies on"
    return RUNOFF_M_S[units] * area


Depth = TypeVar("Depth", float, np.ndarray)


def runoff_depth(discharge: Depth, area: float, step_seconds: float) -> Depth:
    """Runoff [mm per step] of a discharge [m3 s-1] from `area` [m2] in steps of `step_seconds`."""
    return discharge * (step_seconds / area * MM_PER_M)


def discharge_of(runoff: Depth, area: float, step_seconds: float) -> Depth:
    """Discharge [m3 s-1] of a runoff depth [mm per step]: the inverse of `runoff_depth`."""
    return runoff * (area / (step_seconds * MM_PER_M))
