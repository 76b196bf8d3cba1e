"""Recognise files of known products, whose keys a drafted catalog need not say."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from pydantic import TypeAdapter

from pipeline.catalog.presets import preset_keys
from pipeline.catalog.products import PRODUCTS
from pipeline.catalog.time import Duration, TimeLabel
from pipeline.inspect.draft.groups import Group


@dataclass(frozen=True)
class Known:
    """A product whose files a group's are.

    Attributes:
        product: its name in a catalog.
        forcing: that the files are.
        step: that one raster stands for.
        time: how labels name steps.
    """

    product: str
    forcing: str
    step: timedelta
    time: TimeLabel


def recognise_product(group: Group) -> Known | None:
    """The product whose files a group's are, by names that the first file does not contradict."""
    name = group.paths[0].name
    words = set(re.split(r"[^A-Za-z0-9]+", name))
    for called, product in PRODUCTS.items():
        if product.known_by is None or not re.search(product.known_by, name):
            continue
        for forcing, (code, _) in product.forcings.items():
            given = {"product": called, "files": Path(group.pattern).name}
            try:
                keys = preset_keys(forcing, given, None)
            except ValueError:  # another forcing's, or a version that is not known
                continue
            named = code in words or len(product.forcings) == 1 or "variable" in keys
            held = group.description.keys
            compared = [key for key in ("variable", "group", "units") if key in keys]
            if named and all(held.get(key, keys[key]) == keys[key] for key in compared):
                step = TypeAdapter(Duration).validate_python(keys["step"])
                return Known(called, forcing, step, TimeLabel.model_validate(keys["time"]))
    return None
