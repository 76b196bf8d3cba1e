"""Name the units that would explain a contradiction between rain, runoff and climate."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.catalog.models import PRECIPITATION
from pipeline.catalog.time import STEP
from pipeline.check.contents import Contents
from pipeline.units import DISCHARGE_M3_S, RUNOFF_M_S

SHOWN = 3  # suspects in a message
RATIO = 0.1, 1.0  # runoff over rain that a suspect has to lead to
RAIN_YEAR = 100.0, 5000.0  # mean rain [mm a-1] that it has to lead to
SAME = 1e-6  # of two factors, relative

# Likely units, the likeliest first. A number in one of them is so many of a unit of the catalog.
RAIN = {
    "tenths of mm": (0.1, "mm"),
    "hundredths of mm": (0.01, "mm"),
    **{unit: (1.0, unit) for unit in ("mm", "cm", "inch", "m", "mm/h", "mm/day", "mm/s")},
}
DISCHARGE = {**DISCHARGE_M3_S, "mm/h times km2": 1 / 3.6}  # in m3/s


@dataclass(frozen=True)
class Suspect:
    """A unit that the numbers may have in truth.

    Attributes:
        text: what would be in which unit.
        rain: true rain over the store's.
        discharge: true discharge over the store's.
    """

    text: str
    rain: float = 1.0
    discharge: float = 1.0


def find_suspects(store: Contents) -> list[Suspect]:
    """Likely units of rain and discharge other than those of the catalog."""
    source, step = store.catalog.forcings[PRECIPITATION], STEP[store.catalog.period.step]

    def to_store(unit: str) -> float:
        return source.conversion(unit, source.step or step, step)[0]

    found = {1.0: Suspect("")}  # by factor, as several names may mean the same
    for name, (number, unit) in RAIN.items():
        factor = number * to_store(unit) / to_store(source.units)
        if all(abs(factor / other - 1) > SAME for other in found):
            found[factor] = Suspect(f"the rain were in {name}", rain=factor)
    units = store.catalog.gauges.units
    alike = RUNOFF_M_S if units in RUNOFF_M_S else DISCHARGE
    return [*found.values()][1:] + [
        Suspect(f"the discharge were in {name}", discharge=factor / alike[units])
        for name, factor in alike.items()
        if name != units
    ]


def explain(suspects: list[Suspect], ratio: float, rain_year: float | None) -> str:
    """Say which units would make sense of the numbers; empty if none does.

    Args:
        suspects: other units than the catalog's.
        ratio: runoff over rain.
        rain_year: mean rain [mm a-1]; None if the record is too short to tell.
    """
    said = []
    for suspect in suspects:
        true_ratio = ratio * suspect.discharge / suspect.rain
        rain_fits = rain_year is None or _within(rain_year * suspect.rain, RAIN_YEAR)
        if _within(true_ratio, RATIO) and rain_fits:
            said.append(f"{true_ratio:.2g} if {suspect.text}")
    return "".join(f", {text}" for text in said[:SHOWN])


def explain_rain(suspects: list[Suspect], rain_year: float) -> str:
    """Say which units would bring the mean rain [mm a-1] into a climate; empty if none does."""
    said = [
        f"{rain_year * suspect.rain:.0f} mm if {suspect.text}"
        for suspect in suspects
        if suspect.rain < 1 and _within(rain_year * suspect.rain, RAIN_YEAR)
    ]
    return "".join(f", {text}" for text in said[:SHOWN])


def _within(value: float, limits: tuple[float, float]) -> bool:
    return limits[0] <= value <= limits[1]
