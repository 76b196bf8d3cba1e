"""Quality flags of discharge, from values and qualifiers as published.

A value that the agency withholds (`Ice`, `Eqp`, -999999, a blank) is missing, never zero, and its
flag gives the reason. Codes: help.waterdata.usgs.gov, "unit values codes" and "daily value codes".
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from types import MappingProxyType

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

NO_DATA = -999999.0
NUMBER, REFUSED = 254, 255  # codes of texts that are no flags
LARGEST = 1e9  # in m3/s or ft3/s, a hundred times the Amazon's highest flood in ft3/s
# As most numbers are written, and as all are, by the mark of decimals. Python and numpy would take
# 1_000, inf and digits of other scripts, too.
DECIMAL = {mark: rf"^-?[0-9]{{1,18}}(?:[{mark}][0-9]{{0,18}})?$" for mark in ".,"}
NUMBERS = {
    mark: re.compile(rf"[+-]?(?:[0-9]+[{mark}]?[0-9]*|[{mark}][0-9]+)(?:[eE][+-]?[0-9]+)?")
    for mark in ".,"
}

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


def parse_values(
    texts: pa.LargeStringArray, missing: Sequence[float | str] = (), decimal: str = "."
) -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
    """Parse texts in the place of values.

    Args:
        texts: (n,).
        missing: numbers and words for no value, besides the agency's.
        decimal: mark of decimals, a point or a comma.

    Returns:
        Numbers, NaN where there is none, and codes: the flag of a text for no value, else `NUMBER`,
        or `REFUSED` for a text that is neither a number that discharge can be nor a word for none.
    """
    words = NO_VALUE | {one.casefold(): "unavailable" for one in missing if isinstance(one, str)}
    plain = pc.match_substring_regex(texts, DECIMAL[decimal])
    pointed = pc.replace_substring(texts, decimal, ".") if decimal != "." else texts
    numbers = np.array(pc.if_else(plain, pointed, None).cast(pa.float64()), copy=True)
    codes = np.full(numbers.size, NUMBER, np.uint8)
    others = np.flatnonzero(~np.asarray(plain))
    for k, text in zip(others, texts.take(others).to_pylist(), strict=True):
        word = words.get(text.casefold())
        if word is not None:
            codes[k] = FLAGS[word]
        elif NUMBERS[decimal].fullmatch(text):
            numbers[k] = float(text.replace(decimal, "."))
        else:
            codes[k] = REFUSED
    withheld = [NO_DATA, *(one for one in missing if isinstance(one, float))]
    codes[np.isin(numbers, withheld)] = FLAGS["unavailable"]
    codes[(codes == NUMBER) & (np.abs(numbers) > LARGEST)] = REFUSED
    numbers[codes != NUMBER] = np.nan
    return numbers + 0.0, codes  # -0 becomes 0


def parse_qualifiers(qualifiers: str, missing: Sequence[str] = ()) -> tuple[int, int]:
    """Parse the qualifiers of a value.

    Qualifiers other than approval, estimation, ice, equipment and `missing` are ignored.

    Args:
        qualifiers: of one value.
        missing: those of values that are none, besides the agency's.

    Returns:
        The flag of the reason why the value is withheld, or `NUMBER`; and the flag that it has
        otherwise.
    """
    words = set(re.split(r"[\s:,;]+", qualifiers.casefold()))
    reasons = WITHHOLDING | {one.casefold(): "unavailable" for one in missing}
    withheld = next((FLAGS[what] for word, what in reasons.items() if word in words), NUMBER)
    status = next((what for word, what in STATUS.items() if word in words), "")
    if words & ESTIMATED:
        return withheld, FLAGS[f"{status}_estimated" if status else "estimated"]
    return withheld, FLAGS[status or "unqualified"]


def holds_value(value: str) -> bool:
    """Whether a text is a value, rather than a word or code for none."""
    return value.casefold() not in NO_VALUE and not re.fullmatch(r"-999999(?:\.0*)?", value)


def worst_flag(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Combine flags of two values, uint8: the lower approval, estimated if one is."""
    return _WORST[first, second]


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
