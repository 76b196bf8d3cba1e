"""Tell by names and descriptions whether numbers are rain."""

from __future__ import annotations

import re
from collections.abc import Sequence

from pipeline.errors import InputError
from pipeline.storage import Location

RAIN = re.compile(
    r"(?:^|[\W_])(?:pr|tp|prc?p|ppt|rr|apcp|acrr|rain\w*)(?:[\W_]|$)|precip|rainf|^rain"
    r"|^(?:pre|prec|rate)$",
    re.IGNORECASE,
)
OTHER = re.compile(
    r"run-?off|discharge|streamflow|evapo|temperature|humidity|pressure|radiation|irradiance|wind"
    r"|soil|groundwater|geopotential|reflectivity|quality|probability|uncertainty|confidence"
    r"|snow.?(?:depth|cover|water)|infiltration|elevation|altitude|cloud",
    re.IGNORECASE,
)
ABOUT_RAIN = re.compile(  # what is said of rain and is none
    r"categorical|probab|quality|uncertain|error|confidence|\bindex\b|\bflag|\btype\b|frequency"
    r"|\bdays\b|duration|percent of|fraction|anomal|standard deviation|\bcount\b",
    re.IGNORECASE,
)
# Names that programs and agencies give to all the rain, and not to a part or a variant of it.
USUAL = {
    "pr", "pre", "prec", "prcp", "precip", "precipitation", "ppt", "tp", "rr", "rain", "rainfall",
    "rainfall_amount", "precipitationcal", "total_precipitation", "apcp", "rate", "acrr", "p",
}  # fmt: skip
PART = re.compile(r"convective|cumulus|(?:grid|large).?scale|stratiform|snowfall", re.IGNORECASE)
BOTH = re.compile(r"\band\b|\bplus\b|\+|&|includ|\bsum\b", re.IGNORECASE)


def names_rain(*texts: str) -> bool:
    """Whether one of a variable's name and descriptions speaks of rain."""
    return any(map(RAIN.search, texts)) and not any(map(ABOUT_RAIN.search, texts))


def other_quantity(*texts: str) -> str | None:
    """The name or description that speaks of something else, where none speaks of rain."""
    if names_rain(*texts):
        return None
    other = (text for text in texts if OTHER.search(text) or ABOUT_RAIN.search(text))
    return next(other, None)


def is_usual_name(name: str) -> bool:
    """Whether a variable has a usual name of rain."""
    return name.lower() in USUAL


def part_of_rain(*texts: str) -> str | None:
    """The name or description that speaks of a part of the rain, such as the convective one."""
    return next((text for text in texts if PART.search(text) and not BOTH.search(text)), None)


def require_rain(path: Location, about: Sequence[str], key: str) -> None:
    """Raise if names and descriptions speak of another quantity, or of a part of the rain.

    Args:
        path: of the file.
        about: name and descriptions.
        key: what reads it as precipitation, for messages.

    Raises:
        InputError: they do.
    """
    if other := other_quantity(*about):
        raise InputError(
            f"{path}: {about[0]} says {other!r}: expected precipitation, as {key} says (or "
            "attributes: ignore)"
        )
    if part := part_of_rain(*about):
        raise InputError(
            f"{path}: {about[0]} says {part!r}, which is a part of the rain: expected all of it in "
            f"{key} (or attributes: ignore)"
        )
