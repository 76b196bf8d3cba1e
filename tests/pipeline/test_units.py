"""Spellings of units, and the exact factors behind them."""

from __future__ import annotations

import subprocess
import sys
from datetime import timedelta
from fractions import Fraction
from pathlib import Path

import cf_xarray.units
import pint
import pytest

from pipeline.catalog.models import load_catalog
from pipeline.catalog.raster_source import RasterSource
from pipeline.errors import InputError
from pipeline.units import (
    AREA_M2,
    DISCHARGE_M3_S,
    FORCING_UNITS,
    discharge_factor,
    discharge_of,
    recognise_unit,
    require_unit,
    runoff_depth,
    split_factor,
)
from tests.pipeline.handmade import World

# By definition, as in the SI brochure and NIST SP 811, and 1 kg m-2 of water 1 mm deep. These are
# the numbers that stores were written with.
EXACT = {
    "mm": (1.0, 0.0),
    "m": (1000.0, 0.0),
    "inch": (25.4, 0.0),
    "kg m-2": (1.0, 0.0),
    "mm/h": (1 / 3600, 0.0),
    "mm/day": (1 / 86400, 0.0),
    "kg m-2 s-1": (1.0, 0.0),
    "degC": (1.0, 0.0),
    "K": (1.0, -273.15),
}
CF = cf_xarray.units.units  # the oracle: CF's and UDUNITS' spellings


@pytest.mark.parametrize("name", EXACT)
def test_factors_are_exact(name: str):
    """To the last bit, as the bytes of stores depend on them."""
    assert (FORCING_UNITS[name].factor, FORCING_UNITS[name].offset) == EXACT[name]


def test_factors_of_discharge_and_area_are_exact():
    foot = Fraction(3048, 10000)
    assert DISCHARGE_M3_S == {
        "m3/s": 1.0, "ft3/s": 0.3048**3, "l/s": 0.001, "ML/day": 1000 / 86400,
    }  # fmt: skip
    assert discharge_factor("mm/day", 86.4e6) == pytest.approx(1.0, rel=1e-15)
    assert discharge_factor("mm/h", 3.6e6) == pytest.approx(1.0, rel=1e-15)
    assert discharge_factor("ML/day", None) == 1000 / 86400
    assert DISCHARGE_M3_S["ft3/s"] == pytest.approx(float(foot**3), rel=1e-15)
    assert AREA_M2 == {"m2": 1.0, "km2": 1e6, "mi2": 1609.344**2}
    assert AREA_M2["mi2"] == pytest.approx(float((5280 * foot) ** 2), rel=1e-15)


@pytest.mark.parametrize("name", FORCING_UNITS)
def test_every_factor_is_that_of_a_general_purpose_library(name: str):
    unit = FORCING_UNITS[name]
    water = CF.Quantity(1000.0, "kg m-3")
    for number in (0.0, 1.0, 37.5):
        quantity = CF.Quantity(number, name.replace("inch", "in"))
        if quantity.check("[mass] / [length] ** 2") or quantity.check(
            "[mass] / [length] ** 2 / [time]"
        ):
            quantity = quantity / water
        expected = quantity.to({"mm": "mm", "degC": "degC"}[unit.store] + per_second(unit.kind))
        assert number * unit.factor + unit.offset == pytest.approx(expected.magnitude, rel=1e-12)


def per_second(kind: str) -> str:
    return "/s" if kind == "rate" else ""


SPELLINGS = {
    "mm": ["mm", "millimeter", "millimetres", "[mm]", "MM"],
    "m": ["m", "metre", "meters", "[m]"],
    "cm": ["cm", "centimetre"],
    "inch": ["in", "inch", "inches"],
    "kg m-2": ["kg/m^2", "kg m**-2", "kg.m-2", "kg m^-2", "kg/m2", "[kg/(m^2)]", "kilogram m-2"],
    "mm/h": ["mm h-1", "mm hr-1", "mm hour-1", "mm/hr", "mm/hour", "[mm/hr]", "mm h^-1"],
    "mm/day": ["mm d-1", "mm/d", "mm day-1", "mm per day", "mm day**-1", "mm.d-1", "mm/days"],
    "mm/s": ["mm s-1", "mm/sec", "mm second-1"],
    "m/s": ["m s-1"],
    "inch/day": ["in/day", "inches d-1"],
    "kg m-2 s-1": ["kg m**-2 s**-1", "kg/m2/s", "[kg/(m^2 s)]", "kg.m-2.s-1", "kg s-1 m-2"],
    "kg m-2 day-1": ["kg m-2 d-1"],
    "degC": ["C", "celsius", "degree_Celsius", "degrees_Celsius", "deg_C", "[C]"],
    "K": ["k", "kelvin", "Kelvin", "[K]"],
    "degF": ["F", "fahrenheit", "degree_Fahrenheit"],
}


@pytest.mark.parametrize(
    ("name", "text"), [(n, t) for n, texts in SPELLINGS.items() for t in texts]
)
def test_spellings_of_forcings(name: str, text: str):
    assert recognise_unit(text, FORCING_UNITS) == name


@pytest.mark.parametrize("name", FORCING_UNITS)
def test_every_name_recognises_itself_as_cf_spells_it(name: str):
    spelled = f"{CF.Unit(name.replace('inch', 'in')):cf}"
    assert recognise_unit(spelled, FORCING_UNITS) == name


@pytest.mark.parametrize("text", ["m3/s", "m3 s-1", "m^3 s^-1", "m**3/s", "cumec", "m³/s", "cms"])
def test_spellings_of_cubic_metres(text: str):
    assert recognise_unit(text, DISCHARGE_M3_S) == "m3/s"


@pytest.mark.parametrize("text", ["ft3/s", "ft^3/s", "ft3 s-1", "cfs", "feet3/sec", "ft³/s"])
def test_spellings_of_cubic_feet(text: str):
    assert recognise_unit(text, DISCHARGE_M3_S) == "ft3/s"


@pytest.mark.parametrize(
    ("text", "name"),
    [("L s-1", "l/s"), ("litres/second", "l/s"), ("dm3/s", None), ("ML/d", "ML/day"),
     ("megalitres per day", "ML/day"), ("Ml day-1", "ML/day"), ("m3/day", None)],
)  # fmt: skip
def test_spellings_of_litres(text: str, name: str | None):
    assert recognise_unit(text, DISCHARGE_M3_S) == name


@pytest.mark.parametrize(("text", "name"), [("km^2", "km2"), ("mile2", "mi2"), ("m**2", "m2")])
def test_spellings_of_areas(text: str, name: str):
    assert recognise_unit(text, AREA_M2) == name


@pytest.mark.parametrize(
    "text",
    ["", "1", "%", "W m-2", "mm month-1", "mm/3h", "m/m", "kg m-2 s", "mm s-2", "kg", "s-1",
     "furlong", "mm**", "((", "m**9**9**9", "1e400 mm", "\x00", "a" * 5000, "m" + "*m" * 400],
)  # fmt: skip
def test_what_is_no_unit_of_a_forcing(text: str):
    assert recognise_unit(text, FORCING_UNITS) is None


def test_an_unknown_unit_is_one_line_with_what_comes_near():
    with pytest.raises(InputError, match=r"^expected a unit such as .*\bmm/h\b"):
        require_unit("mm/fortnight", FORCING_UNITS)
    with pytest.raises(InputError, match=r"^expected a unit such as .*ft3/s"):
        require_unit("mm", DISCHARGE_M3_S)


def test_a_catalog_takes_any_spelling(world: World):
    text = world.catalog.read_text()
    world.catalog.write_text(text.replace("units: m3/s", "units: m^3 s^-1"))
    world.edit(forcings={"precipitation": source("kg m**-2 s**-1")})
    catalog = load_catalog(world.catalog)
    assert catalog.forcings["precipitation"].units == "kg m-2 s-1"
    assert catalog.gauges.units == "m3/s"


@pytest.mark.parametrize("units", ["furlong", "W m-2", "mm month-1"])
def test_a_catalog_with_another_unit(world: World, units: str):
    world.edit(forcings={"precipitation": source(units)})
    with pytest.raises(InputError) as caught:
        load_catalog(world.catalog)
    assert f"forcings.precipitation.units: {units!r}: expected a unit such as" in str(caught.value)
    assert "\n" not in str(caught.value)


def source(units: str) -> dict[str, str]:
    return {"driver": "geotiff", "files": "rain_{time:%Y%m%d}.tif", "units": units}


@pytest.mark.parametrize(
    ("units", "scale"),
    [("mm", 0.5), ("mm d-1", 43200 / 86400), ("mm h-1", 12.0), ("kg m-2 s-1", 43200.0)],
)
def test_amounts_and_rates_over_a_step(units: str, scale: float):
    """An amount in a day has half of it in a half; a rate counts for as long as the step is."""
    described = RasterSource.model_validate(source(units))
    half, day = timedelta(hours=12), timedelta(days=1)
    found, offset = described.conversion(described.units, day, half)
    assert found == pytest.approx(scale, rel=1e-15)
    assert offset == 0


def test_runoff_is_discharge_over_area():
    """1 m3 s-1 for a day from 86.4 km2 is 1 mm."""
    assert runoff_depth(1.0, 86.4e6, 86400.0) == pytest.approx(1.0, rel=1e-15)
    assert discharge_of(1.0, 86.4e6, 86400.0) == pytest.approx(1.0, rel=1e-15)


def test_names_need_no_pint():
    """Catalogs that spell units as the tables do start without it."""
    code = (
        "import sys; from pipeline.units import *; require_unit('mm/day', FORCING_UNITS); "
        "require_unit('ft3/s', DISCHARGE_M3_S); sys.exit('pint' in sys.modules)"
    )
    root = Path(__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=root).returncode == 0
    assert pint.__name__ in sys.modules


@pytest.mark.parametrize(
    ("text", "factor", "plain"),
    [
        ("0.1 mm", 0.1, "mm"),
        ("[0.01 mm/h]", 0.01, "mm/h"),
        ("10^-1 mm", 0.1, "mm"),
        ("1e-1 mm", 0.1, "mm"),
        ("1/10 mm", 0.1, "mm"),
        ("mm/3h", 1 / 3, "mm/h"),
        ("mm per 6 hours", 1 / 6, "mm/hours"),
        ("mm/0h", 0.0, "mm/h"),  # which no catalog has
        ("0^-1 mm", 0.0, "mm"),
        ("mm", 1.0, "mm"),
        ("mm d-1", 1.0, "mm d-1"),
    ],
)
def test_factors_of_units(text: str, factor: float, plain: str) -> None:
    found, rest = split_factor(text)
    assert rest == plain
    assert found == pytest.approx(factor)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("mm/step", "mm"),
        ("mm timestep-1", "mm"),
        ("kg m-2 per time step", "kg m-2"),
        ("mm per hour", "mm/h"),
        ("l/m2", "mm"),
        ("step", None),
        ("timestep-1", None),
    ],
)
def test_amounts_per_step(text: str, name: str | None) -> None:
    assert recognise_unit(text, FORCING_UNITS) == name
