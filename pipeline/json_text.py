"""JSON as every reader takes it: null for what is no number, text for paths and times."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any


def as_json(value: Any, indent: int | None = None) -> str:
    """Return a value as JSON, with null for NaN and infinity.

    Mappings become objects; lists, tuples and sets arrays; numpy's scalars numbers; everything else
    that JSON lacks, such as paths and times, its text.
    """

    def known(one: Any) -> Any:
        if isinstance(one, Mapping):
            return {str(name): known(part) for name, part in one.items()}
        if isinstance(one, list | tuple | set | frozenset):
            return [known(part) for part in one]
        if one is None or isinstance(one, str | bool | int):
            return one
        if isinstance(one, float):
            return one if math.isfinite(one) else None
        if hasattr(one, "item") and getattr(one, "ndim", None) == 0:
            return known(one.item())
        return str(one)

    return json.dumps(known(value), indent=indent, allow_nan=False)


def print_json(value: Any) -> None:
    """Print a value as JSON."""
    print(as_json(value, indent=2), flush=True)
