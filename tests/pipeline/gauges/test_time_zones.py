"""The agency's time zone codes, against the system's time zones."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from pipeline.gauges.times import ZONE_HOURS

# Standard and daylight saving time of places that observe both, but for UTC and Honolulu.
PLACES = {
    ("UTC", "UTC"): "UTC",
    ("GMT", "GMT"): "Etc/GMT",
    ("AST", "ADT"): "America/Halifax",
    ("EST", "EDT"): "America/New_York",
    ("CST", "CDT"): "America/Chicago",
    ("MST", "MDT"): "America/Denver",
    ("PST", "PDT"): "America/Los_Angeles",
    ("AKST", "AKDT"): "America/Anchorage",
    ("HST", "HDT"): "America/Adak",
    ("HST", "HST"): "Pacific/Honolulu",
}


@pytest.mark.parametrize(("codes", "place"), PLACES.items())
def test_codes_are_the_hours_of_a_place_in_winter_and_in_summer(
    codes: tuple[str, str], place: str
) -> None:
    for code, month in zip(codes, (1, 7), strict=True):
        offset = datetime(2020, month, 1, tzinfo=ZoneInfo(place)).utcoffset()
        assert offset is not None
        assert ZONE_HOURS[code] == offset.total_seconds() / 3600


def test_every_code_has_its_place() -> None:
    assert set(ZONE_HOURS) == {code for codes in PLACES for code in codes}
