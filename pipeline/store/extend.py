"""Extending a store's period: the template of the longer one is laid over it, the data stay.

What a longer period changes beside the data is small: the lengths of the arrays, the time axis, the
records and the digests. The root's attributes are changed first, with the mark `extending`, and a
store that bears it is not read. Then every file that differs from the longer template's is
replaced, and the root last of all, which takes the mark away. A run that was killed in between
leaves the mark, and the next one does all of it again; until then no block is done.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import yaml
import zarr

from pipeline.catalog.time import Period
from pipeline.storage import Location, remove_files
from pipeline.store.layout import build_template
from pipeline.store.metadata import METADATA
from pipeline.store.resume import static_files
from pipeline.store.root import EXTENDING, PROGRESS, array_of, attributes_of, open_root
from pipeline.store.spec import StoreSpec
from pipeline.store.write import replace_files, writing

LOG = logging.getLogger(__name__)


def extended_from(root: zarr.Group, period: Period) -> int | None:
    """Steps that a store had before `period` makes it longer; None where that ends no later.

    Also where an extension to `period`, or to a shorter one, was begun and has not come to its end.
    """
    attributes = attributes_of(root)
    text = attributes["provenance"]["catalog"]["text"]
    stored = Period.model_validate(yaml.safe_load(text)["period"])
    if period.end < stored.end:
        return None
    if EXTENDING in attributes:
        return int(attributes[EXTENDING])
    return len(stored.times) if period.end > stored.end else None


def extend(spec: StoreSpec, attributes: Mapping[str, Any], path: Location, steps: int) -> None:
    """Make a store as long as `spec`; the blocks from the first new step on are not done then.

    Args:
        spec: of the longer period, in blocks as long as the store's.
        attributes: of the root, as they would be written now.
        path: the store.
        steps: that it had before.

    Raises:
        InputError: as reading gauges and terrain; the store is as it was then.
        RunError: the disk is full or read-only; or as `reporting_access`.
    """
    root = open_root(path, mode="r+")
    provenance = attributes_of(root)["provenance"]
    attributes = {
        **attributes,
        "provenance": {**attributes["provenance"], "created": provenance["created"]},
    }
    files = build_template(spec, attributes)
    whole = files.pop(METADATA)
    with writing(path):
        root.attrs.put({**attributes, EXTENDING: steps})
        found = static_files(path, spec.forcings)
        remove_files(path, found.keys() - files.keys())  # chunks of nothing but their fill value
        replace_files(path, {key: new for key, new in files.items() if found.get(key) != new})
        marks = array_of(open_root(path, mode="r+"), PROGRESS)
        marks[steps // spec.block_steps] = 0  # a block that was the last, and short
        replace_files(path, {METADATA: whole})
    LOG.warning(
        "%s: extended from %d to %d steps, in blocks of %d as before",
        path, steps, spec.steps, spec.block_steps,
    )  # fmt: skip
