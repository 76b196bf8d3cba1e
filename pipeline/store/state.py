"""The state of a store while a run writes it: attributes, metadata and marks.

The root's `zarr.json` is replaced whole, so that a reader sees the store before or after a change
and nothing in between. While the tables of watersheds and gauges are written, the root lacks their
stamp, and readers refuse them. A run may be killed at any moment: the next one finds the same
differences, and makes them again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import zarr

from pipeline.log import get_logger
from pipeline.storage import has_file
from pipeline.store.changes import Changes
from pipeline.store.digests import digest_parts
from pipeline.store.layout import template_files
from pipeline.store.lease import LEASE
from pipeline.store.metadata import METADATA, expand
from pipeline.store.provenance import tables_stamp
from pipeline.store.root import PROGRESS, STATIC, TABLES, UNFINISHED, attributes_of, read_marks
from pipeline.store.spec import Block, StoreSpec, valid_fraction_name
from pipeline.store.tables import GAUGES, WATERSHEDS
from pipeline.store.write import BlockWriter, MarkWriter, StoreWriter

LOG = get_logger(__name__)


@dataclass
class StoreState:
    """A store that a run writes.

    Attributes:
        writer: of its files.
        stamp: of the tables, as they are to be.
        attributes: of the root, as they are now.
        metadata: `zarr.json` of all groups and arrays, content by path.
        marks: by forcing the stamp of each block, uint64 (block,); 0 if not done.
        unsaved: whether marks are not written yet.
    """

    writer: StoreWriter
    stamp: str
    attributes: dict[str, Any]
    metadata: dict[str, bytes]
    marks: dict[str, np.ndarray]
    unsaved: bool = field(default=False)

    @property
    def tables_due(self) -> bool:
        """Whether the tables of watersheds and gauges are to be written."""
        return bool(self.attributes.get(TABLES) != self.stamp)

    @property
    def block_writer(self) -> BlockWriter:
        """Writer of the blocks, for the workers."""
        names = [*self.marks, *map(valid_fraction_name, self.marks)]
        keys = [f"region/{name}/{METADATA}" for name in names]
        return BlockWriter(
            self.writer.path, self.writer.run, {key: self.metadata[key] for key in keys}
        )

    def due(self, blocks: Iterable[Block]) -> dict[int, list[str]]:
        """Forcings to do in each block that is not done, or was done from other files."""
        todo = {
            block.index: [
                name for name, stamp in block.stamps.items()
                if self.marks[name][block.index] != stamp
            ]
            for block in blocks
        }  # fmt: skip
        return {index: names for index, names in todo.items() if names}

    def mark(self, block: Block, names: Iterable[str]) -> None:
        """Mark forcings of a block as done, when the marks are saved next."""
        for name in names:
            self.marks[name][block.index] = block.stamps[name]
        self.unsaved = True

    def save_marks(self) -> None:
        """Write the marks, if there are new ones.

        Raises:
            RunError: the disk is full or read-only, or the run has lost its lease.
        """
        if self.unsaved:
            keys = [f"{PROGRESS}/{name}/{METADATA}" for name in self.marks]
            metadata = {key: self.metadata[key] for key in keys}
            writer = MarkWriter(self.writer.path, self.writer.run, metadata)
            writer.write_marks(self.marks)
            self.unsaved = False

    def begin_tables(self) -> None:
        """Withdraw the tables' stamp, before any of their files changes.

        Raises:
            RunError: as `save_marks`.
        """
        if TABLES in self.attributes:
            del self.attributes[TABLES]
            self.writer.write_root(self.attributes, self.metadata)

    def finish_tables(self, metadata: Mapping[str, bytes], digests: Mapping[str, str]) -> None:
        """Make written tables visible, and remove files of earlier ones.

        Args:
            metadata: `zarr.json` of their groups and arrays, content by path.
            digests: SHA-256 of all their files, by path.

        Raises:
            RunError: as `save_marks`.
        """
        kept = {k: v for k, v in self.metadata.items() if not _is_table(k)}
        self.metadata = {**kept, **metadata}
        static = {k: v for k, v in self.attributes[STATIC].items() if not _is_table(k)}
        self.attributes[STATIC] = dict(sorted({**static, **digest_parts(digests)}.items()))
        self.attributes[TABLES] = self.stamp
        self.writer.write_root(self.attributes, self.metadata)
        for folder in (WATERSHEDS, GAUGES):
            self.writer.remove_others(folder, digests)


def _is_table(key: str) -> bool:
    return key.split("/")[0] in (WATERSHEDS, GAUGES)


def create_store(spec: StoreSpec, attributes: Mapping[str, Any], writer: StoreWriter) -> StoreState:
    """Lay out a store where there is none; its root is written last.

    Raises:
        RunError: the disk is full or read-only.
    """
    files = template_files(spec)
    writer.write({UNFINISHED: b""})
    writer.remove_others("", (LEASE, UNFINISHED))  # of a run that was killed here
    writer.write(files)
    state = StoreState(
        writer=writer,
        stamp=tables_stamp(spec, attributes),
        attributes={**attributes, STATIC: digest_parts(files)},
        metadata=_metadata(files),
        marks={name: np.zeros(spec.block_count, np.uint64) for name in spec.forcings},
    )
    writer.write_root(state.attributes, state.metadata)
    writer.remove((UNFINISHED,))
    return state


def continue_store(
    spec: StoreSpec,
    attributes: Mapping[str, Any],
    writer: StoreWriter,
    root: zarr.Group,
    root_file: bytes,
    changes: Changes,
    blocks: Sequence[Block],
) -> StoreState:
    """Bring an existing store to its specification, apart from blocks and tables.

    Marks of blocks that are to be done again are removed first. Forcings that the catalog no longer
    has are removed, new ones are laid out, and arrays get the length of the period.

    Args:
        spec: of the store.
        attributes: of the root, as they would be written now.
        writer: of the store.
        root: of the store, and `root_file` its `zarr.json`.
        changes: as `find_changes` returned them.
        blocks: of the period.

    Raises:
        RunError: the disk is full or read-only.
    """
    found, metadata = attributes_of(root), expand(root_file)[1]
    marks = {
        name: np.resize(stamps, spec.block_count) * (np.arange(spec.block_count) < stamps.size)
        for name, stamps in read_marks(root).items()
    }
    if has_file(writer.path, UNFINISHED):  # of a run that was killed when its root was written
        writer.remove((UNFINISHED,))
    state = StoreState(writer, tables_stamp(spec, attributes), dict(found), metadata, marks)
    _clear_stale(state, spec, changes, blocks)
    files = template_files(spec)
    if state.tables_due:
        state.begin_tables()
    kept = {k: v for k, v in metadata.items() if _is_table(k)}
    state.metadata = {**kept, **_metadata(files)}
    state.attributes = {
        **attributes,
        "provenance": {
            **attributes["provenance"],
            "created": found["provenance"]["created"],
        },
        STATIC: dict(
            sorted(
                {
                    **{k: v for k, v in found[STATIC].items() if _is_table(k)},
                    **digest_parts(files),
                }.items()
            )
        ),
        **({TABLES: state.stamp} if not state.tables_due else {}),
    }
    if {**found, **state.attributes} != found or state.metadata != metadata:
        writer.write(files)
        writer.write_root(state.attributes, state.metadata)
        for folder in ("region", PROGRESS):
            for gone in _members(metadata, folder) - _members(files, folder):
                writer.remove_others(f"{folder}/{gone}", ())
    return state


def _members(files: Iterable[str], folder: str) -> set[str]:
    """Names of the files and folders in a folder."""
    return {key.split("/")[1] for key in files if key.startswith(f"{folder}/")}


def _clear_stale(
    state: StoreState, spec: StoreSpec, changes: Changes, blocks: Sequence[Block]
) -> None:
    """Remove the marks of blocks that were done, but are to be done again."""
    marks = state.marks
    if changes.steps_before is not None:  # the block that was the last, and short
        short = changes.steps_before // spec.block_steps
        for stamps in marks.values():
            stamps[short] = 0
        state.unsaved = True
    changed = [
        (block, name)
        for block in blocks
        for name, stamp in block.stamps.items()
        if name in marks and marks[name][block.index] not in (0, stamp)
    ]
    if changed:
        first = spec.catalog.period.times[changed[0][0].start]
        LOG.warning(
            "%s: what %d of %d blocks were made from has changed, the first from %s: they are done "
            "again",
            state.writer.path, len({block.index for block, _ in changed}), len(blocks), first,
        )  # fmt: skip
    for block, name in changed:
        marks[name][block.index] = 0
        state.unsaved = True
    state.save_marks()
    state.marks = {
        name: marks.get(name, np.zeros(spec.block_count, np.uint64)) for name in spec.forcings
    }


def _metadata(files: Mapping[str, bytes]) -> dict[str, bytes]:
    return {key: content for key, content in files.items() if key.endswith(f"/{METADATA}")}
