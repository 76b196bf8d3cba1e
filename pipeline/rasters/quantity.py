"""Tell by names and descriptions whether numbers are rain."""

from __future__ import annotations

import re

RAIN = re.compile(
    r"(?:^|[\W_])(?:pr|tp|prc?p|prec|ppt|rr|apcp|acrr|pre|rain\w*|rate)(?:[\W_]|$)"
    r"|precip|rainf|^rain",
    re.IGNORECASE,
)
OTHER = re.compile(
    r"run-?off|discharge|streamflow|evapo|temperature|humidity|pressure|radiation|irradiance|wind"
    r"|soil|groundwater|geopotential|reflectivity|quality|probability|uncertainty|confidence"
    r"|snow.?(?:depth|cover|water)|infiltration|elevation|altitude|cloud",
    re.IGNORECASE,
)
PART = re.compile(r"convective|cumulus|(?:grid|large).?scale|stratiform|snowfall", re.IGNORECASE)
BOTH = re.compile(r"\band\b|\bplus\b|\+|&|includ|\bsum\b", re.IGNORECASE)


def names_rain(*texts: str) -> bool:
    """Whether one of a variable's name and descriptions speaks of rain."""
    return any(RAIN.search(text) for text in texts)


def other_quantity(*texts: str) -> str | None:
    """The name or description that speaks of something else, where none speaks of rain."""
    if names_rain(*texts):
        return None
    return next((text for text in texts if OTHER.search(text)), None)


def part_of_rain(*texts: str) -> str | None:
    """The name or description that speaks of a part of the rain, such as the convective one."""
    return next((text for text in texts if PART.search(text) and not BOTH.search(text)), None)
