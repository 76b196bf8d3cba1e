"""Quality flags of discharge, from values and qualifiers as published.

A value that the agency withholds (`Ice`, `Eqp`, -999999, a blank) is missing, never zero, and its
flag gives the reason. Codes: help.waterdata.usgs.gov, "unit values codes" and "daily value codes".
"""

from __future__ import annotations

import re
from functools import lru_cache
from types import MappingProxyType

import numpy as np

NO_DATA = -999999.0

# CF: flag_values are the codes, flag_meanings the names. 0: also outside the record.
FLAGS = MappingProxyType(
    {
        "missing": 0,
        "approved": 1,
        "approved_estimated": 2,
        "provisional": 3,
        "provisional_estimated": 4,
        "unqualified": 5,  # a value without A or P
        "estimated": 6,  # without A or P
        "ice": 7,  # no value: the station was affected by ice
        "equipment": 8,  # no value: equipment malfunction
        "unavailable": 9,  # no value: -999999 or another code for no value
    }
)
WITHHELD = tuple(FLAGS[name] for name in ("ice", "equipment", "unavailable"))
NO_VALUE = {  # words in place of a value
    "": "missing",
    "ice": "ice",
    "eqp": "equipment",
    **dict.fromkeys(
        ("bkw", "dis", "dry", "fld", "mnt", "pr", "rat", "ssn", "tst", "zfl", "***", "---", "--"),
        "unavailable",
    ),
}
STATUS = {  # qualifiers of approval, of the older services and the Water Data API
    **dict.fromkeys(("a", "approved"), "approved"),
    **dict.fromkeys(("p", "provisional", "working"), "provisional"),
}
WITHHOLDING = {
    "ice": "ice",
    **dict.fromkeys(("eqp", "equip", "equipment"), "equipment"),
}
ESTIMATED = {"e", "estimated"}
# Flags without and with estimation, from the highest approval to the lowest.
_BY_APPROVAL = (
    ("approved", "approved_estimated"),
    ("provisional", "provisional_estimated"),
    ("unqualified", "estimated"),
)


def value_and_flag(value: str, qualifiers: str) -> tuple[float, int]:
    """Parse a value and its qualifiers.

    Returns:
        The number, NaN if withheld, and the flag's code.

    Raises:
        ValueError: the text is neither a finite number nor one of the agency's words.
    """
    withheld, status = _parse_qualifiers(qualifiers)
    word = value.casefold()
    if word in NO_VALUE:
        return np.nan, FLAGS[withheld or NO_VALUE[word]]
    number = float(value)
    if not np.isfinite(number):
        raise ValueError(value)
    if withheld:
        return np.nan, FLAGS[withheld]
    if number == NO_DATA:
        return np.nan, FLAGS["unavailable"]
    return number, FLAGS[status]


def holds_value(value: str) -> bool:
    """Whether a text is a value, rather than a word or code for none."""
    return value.casefold() not in NO_VALUE and not re.fullmatch(r"-999999(?:\.0*)?", value)


def worst_flag(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Combine flags of two values, uint8: the lower approval, estimated if one is."""
    return _WORST[first, second]


@lru_cache(maxsize=1024)  # few are distinct in a record
def _parse_qualifiers(qualifiers: str) -> tuple[str | None, str]:
    """The reason why a value is withheld, or None, and the flag that it has otherwise.

    Qualifiers other than approval, estimation, ice and equipment are ignored.
    """
    words = set(re.split(r"[\s:,;]+", qualifiers.casefold()))
    withheld = next((what for word, what in WITHHOLDING.items() if word in words), None)
    status = next((what for word, what in STATUS.items() if word in words), "")
    if words & ESTIMATED:
        return withheld, f"{status}_estimated" if status else "estimated"
    return withheld, status or "unqualified"


def _worst_table() -> np.ndarray:
    """`worst_flag` of every two codes of values, uint8 (codes, codes); 0 for other codes."""
    table = np.zeros((len(FLAGS), len(FLAGS)), dtype=np.uint8)
    ranks = {
        FLAGS[name]: (rank, estimated)
        for rank, names in enumerate(_BY_APPROVAL)
        for estimated, name in enumerate(names)
    }
    for one, (rank, estimated) in ranks.items():
        for other, (other_rank, also) in ranks.items():
            name = _BY_APPROVAL[max(rank, other_rank)][max(estimated, also)]
            table[one, other] = FLAGS[name]
    return table


_WORST = _worst_table()
