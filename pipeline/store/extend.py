"""Extend a store to a later end of the period, without touching its data.

The lengths of the arrays, the time axes, the discharge records and the digests change. First the
root gets the attribute `extending`, with which readers refuse the store. Then every file that
differs from the layout of the longer period is replaced, and the root last, without `extending`. If
a run is killed in between, the next one repeats all of it before any block.
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
from pipeline.store.resume import read_static_files
from pipeline.store.root import EXTENDING, PROGRESS, array_of, attributes_of, open_root
from pipeline.store.spec import StoreSpec
from pipeline.store.write import replace_files, writing

LOG = logging.getLogger(__name__)


def steps_before_extension(root: zarr.Group, period: Period) -> int | None:
    """Number of steps that a store had before its extension to `period`; None without one.

    An interrupted extension to `period`, or to an earlier end, counts too.
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
    """Extend a store to the period of `spec`; blocks from the first new step on are not done then.

    Args:
        spec: of the longer period, with the store's `block_steps`.
        attributes: of the root, as they would be written now.
        path: the store.
        steps: number of steps before.

    Raises:
        InputError: from reading gauges and terrain; the store is unchanged.
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
        found = read_static_files(path, spec.forcings)
        remove_files(path, found.keys() - files.keys())  # chunks of fill values now
        replace_files(path, {key: new for key, new in files.items() if found.get(key) != new})
        marks = array_of(open_root(path, mode="r+"), PROGRESS)
        marks[steps // spec.block_steps] = 0  # the block that was the last, and short
        replace_files(path, {METADATA: whole})
    LOG.warning(
        "%s: extended from %d to %d steps, in blocks of %d as before",
        path, steps, spec.steps, spec.block_steps,
    )  # fmt: skip
