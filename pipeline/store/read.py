"""The store: opening it, its done-marks, and what makes one store another's continuation.

    /                      provenance, and progress(block): which blocks of time are done
    /region                the forcings on the region's grid, with their valid fractions
    /gauges                the discharge records
    /watersheds/<site_no>  the forcings clipped to a watershed's window, coverage, flow distance,
                           discharge and runoff

Zarr v3 without consolidated metadata, attributes after CF 1.11, in a folder or at a URL.
`pipeline.store.layout` lays it out.
A block's mark in `progress` is the stamp of the raw files it was made from, 0 while it is not
done. It is written after all of the block's data, and a chunk belongs to one block only.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml
import zarr
from zarr.core.sync import sync
from zarr.errors import GroupNotFoundError

from pipeline.errors import InputError, RunError
from pipeline.storage import (
    Location,
    file_system,
    list_files,
    located,
    reaching,
    read_files,
)

if TYPE_CHECKING:
    import xarray as xr

    from pipeline.run.plan import Block, Plan

LAYOUT = 2  # version of the layout; a store of another one is refused
PROGRESS = "progress"
VERSIONS, RECORDS = ("provenance", "versions"), ("provenance", "gauges")
DAMAGED = "as `pipeline run` wrote it; remove the store and run again"
UNFINISHED = ".partial"  # lies in a store at a URL while that is laid out
STATIC = "static"  # attribute of the root: digests of what was laid out before any data
EXTENDING = "extending"  # likewise, while the period is made longer: steps that it had before
NOT_COMPARED = (
    ("provenance", "created"),
    ("provenance", "forcings"),
    ("provenance", "catalog"),
    (STATIC,),
    (EXTENDING,),
)


def open_store(path: str | os.PathLike[str], mode: str = "r") -> zarr.Group:
    """The root group of a store.

    Raises:
        InputError: there is no store at `path`, or one of another layout.
        InputError, RunError: as `reaching`.
    """
    path = located(path)
    with reaching(path):
        try:
            if isinstance(path, Path) and not path.is_dir():  # Zarr would make one
                raise FileNotFoundError(path)
            root = zarr.open_group(path, mode=mode, zarr_format=3, use_consolidated=False)  # type: ignore[arg-type]
            whole = PROGRESS in root and "provenance" in root.attrs
        except (FileNotFoundError, GroupNotFoundError, ValueError) as error:
            raise InputError(
                f"{path}: holds no store: expected one written by `pipeline run`"
            ) from error
    if root.attrs.get("layout") != LAYOUT or not whole:
        found = root.attrs.get("layout")
        raise InputError(f"{path}: store layout {found}: expected {LAYOUT}, of this version")
    return root


def stored_block_steps(path: Location) -> int | None:
    """Steps in a block of the store at `path`; None if there is nothing yet.

    Raises:
        InputError: there is something else at `path`, or a store of another layout.
    """
    return None if is_absent(path) else int(attributes_of(open_store(path))["block_steps"])


def array_of(root: zarr.Group, name: str) -> zarr.Array:
    """An array of a store, by its path below the root.

    Raises:
        InputError: it is not there, or its description is damaged.
    """
    try:
        found = root[name]
    except (KeyError, ValueError) as error:
        raise InputError(f"{root.store}: {name}: {error}: expected an array, {DAMAGED}") from error
    assert isinstance(found, zarr.Array), name
    return found


def attributes_of(group: zarr.Group) -> dict[str, Any]:
    """The attributes of a group."""
    return dict(group.attrs)


def is_absent(path: Location) -> bool:
    """Whether there is nothing at `path`, or an empty folder; at a URL also what is left of a store
    that was never laid out to its end.

    Raises:
        InputError, RunError: as `reaching`.
    """
    if not isinstance(path, Path):
        system, root = file_system(path)
        with reaching(path):
            if system.exists(f"{root}/zarr.json"):
                return False
            return system.exists(f"{root}/{UNFINISHED}") or not system.find(root)
    if not os.path.lexists(path):
        return True
    return path.is_dir() and not any(path.iterdir())


def list_sites(path: str | os.PathLike[str]) -> list[str]:
    """Site numbers of the store's watersheds, sorted.

    Raises:
        InputError: there is no store at `path`.
    """
    return [str(site) for site in _read(array_of(open_store(path), "gauges/gauge"))]


def open_watershed(path: str | os.PathLike[str], site_no: str) -> xr.Dataset:
    """A watershed of a finished store, read when used.

    Variables: precipitation (time, y, x) in mm per step and the other forcings alike;
    coverage (y, x) from 0 to 1; flow_distance (y, x) in m; discharge (time) in m3 s-1; flag (time);
    runoff (time) in mm per step. Missing is NaN. `time` is the start of the step.
    Attributes: site_no, name, outlet, drainage areas in m2, method, polygon as WKT, synthetic.

    Raises:
        InputError: no store, no such watershed, or blocks of time that are not done.
    """
    sites = list_sites(path)
    if site_no not in sites:
        raise InputError(
            f"{path}: has no watershed {site_no!r}: expected one of {', '.join(sites)}"
        )
    return _open(path, f"watersheds/{site_no}")


def open_region(path: str | os.PathLike[str]) -> xr.Dataset:
    """The region of a finished store, read when used: the forcings (time, y, x), their valid
    fractions, and cell_area (y, x) in m2.

    Raises:
        InputError: no store, or blocks of time that are not done.
    """
    return _open(path, "region")


def open_gauges(path: str | os.PathLike[str]) -> xr.Dataset:
    """The gauges of a finished store: discharge (gauge, time) in m3 s-1, flag (gauge, time),
    cell_y (gauge) and cell_x (gauge), row and column of the outlet's cell in the region.

    Raises:
        InputError: no store, or blocks of time that are not done.
    """
    return _open(path, "gauges")


def _open(path: str | os.PathLike[str], group: str) -> xr.Dataset:
    path = located(path)
    root = open_store(path)
    if EXTENDING in root.attrs:
        raise InputError(
            f"{path}: the extension of its period was interrupted: expected a finished store; "
            "`pipeline run` with the same catalog finishes it"
        )
    marks = read_marks(root)
    if not marks.all():
        raise InputError(
            f"{path}: {int((marks == 0).sum())} of {marks.size} blocks are not done: expected a "
            "finished store; `pipeline run` with the same catalog finishes it"
        )
    import xarray as xr  # readers only: a run, which needs none of it, starts faster without

    return xr.open_zarr(
        str(path), group=group, chunks=None, consolidated=False, zarr_format=3, decode_coords="all"
    )


def read_marks(root: zarr.Group) -> np.ndarray:
    """Stamps of the raw files that each block was made from, uint64 (block,); 0 if not done."""
    return _read(array_of(root, PROGRESS)).astype(np.uint64)


def _read(array: zarr.Array) -> np.ndarray:
    """A whole array.

    Raises:
        InputError: a chunk is damaged.
    """
    try:
        return np.asarray(array[...])
    except (ValueError, RuntimeError) as error:  # what codecs raise
        raise InputError(
            f"{array.store}: {array.path}: {error}: expected a chunk, {DAMAGED}"
        ) from error


def digests(files: Mapping[str, bytes]) -> dict[str, str]:
    """SHA-256 of the files of /region, of /gauges and of each watershed, by paths in the store."""
    totals: dict[str, Any] = {}
    for key, content in sorted(files.items()):
        part = "/".join(key.split("/")[: 2 if key.startswith("watersheds/") else 1])
        total = totals.setdefault(part, hashlib.sha256())
        total.update(f"{key} {hashlib.sha256(content).hexdigest()}\n".encode())
    return {part: total.hexdigest() for part, total in totals.items()}


def static_files(path: Location, forcings: Sequence[str]) -> dict[str, bytes]:
    """What was laid out before any data: content of the files below the root's, by their paths."""
    filled = {PROGRESS, *forcings, *map(valid_fraction_name, forcings)}
    static = []
    for key in list_files(path, pruned=filled):  # without chunks of data
        *folders, name = key.split("/")
        if folders and (name in ("zarr.json", "c") or "c" in folders):
            static.append(key)
    return read_files(path, static)


def remaining(plan: Plan, root: zarr.Group) -> list[Block]:
    """Blocks that are not done, or were made from files that have changed since.

    The store may be shorter than the plan: blocks beyond its end are not done.
    """
    marks = read_marks(root).tolist()
    assert len(marks) <= len(plan.blocks), (len(marks), len(plan.blocks))
    marks += [0] * (len(plan.blocks) - len(marks))
    return [block for block in plan.blocks if marks[block.index] != block.stamp]


def unmark(path: Location, root: zarr.Group, blocks: list[Block]) -> None:
    """Take away the done-marks of blocks that are going to be done again.

    Raises:
        RunError: the disk is full or read-only.
    """
    marks = array_of(root, PROGRESS)
    with writing(path):
        for block in blocks:
            marks[block.index] = np.uint64(0)


def stale(blocks: list[Block], root: zarr.Group) -> list[Block]:
    """Those of `blocks` that are done, but from other files than there are now."""
    marks = read_marks(root)
    return [block for block in blocks if marks[block.index]]


def sweep(path: Location) -> None:
    """Remove what a killed write left: Zarr writes a chunk beside its place and renames it, and a
    store at a URL, where an object is there whole or not at all, is laid out beside a mark.

    Raises:
        InputError, RunError: as `reaching`.
    """
    if not isinstance(path, Path):
        system, root = file_system(path)
        with reaching(path):
            if system.exists(f"{root}/{UNFINISHED}"):
                system.rm_file(f"{root}/{UNFINISHED}")
        return
    for folder, _, files in os.walk(path):
        for name in files:
            if name.endswith(".partial"):
                os.unlink(os.path.join(folder, name))


def require_same(
    path: Location, root: zarr.Group, expected: Mapping[str, Any], extended: bool = False
) -> None:
    """Refuse to continue a store that another catalog, or other static input, was written from.

    Rasters are not compared here: blocks whose rasters changed are done again. Versions of
    packages count only while there is something to do.

    Args:
        expected: the root's attributes as they would be written now.
        extended: the catalog's period ends later, which makes its gauges' records longer too; see
            `pipeline.store.extend`.

    Raises:
        InputError: naming the first key that differs, its value in the store and now.
    """
    found = attributes_of(root)
    advice = "give another --store, or remove this one"
    stored = yaml.safe_load(found["provenance"]["catalog"]["text"])
    current = yaml.safe_load(expected["provenance"]["catalog"]["text"])
    for key, old, new in _differences(stored, current):
        if extended and key == "period.end":
            continue
        raise InputError(
            f"{path}: written from another catalog: {key} is {old!r} there: expected {new!r}; "
            f"{advice}"
        )
    unfinished = extended or not read_marks(root).all()
    for key, old, new in _differences(found, dict(expected)):
        parts = tuple(key.split("."))
        if parts[:2] in NOT_COMPARED or (parts[:2] == VERSIONS and not unfinished):
            continue
        if extended and parts[:2] == RECORDS:
            continue
        raise InputError(f"{path}: {key} is {old!r} in the store: expected {new!r}; {advice}")


def _differences(old: Any, new: Any, key: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Leaves at which two nested mappings differ: dotted key, value in each (None where absent)."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for part in sorted(old.keys() | new.keys()):
            below = f"{key}.{part}" if key else str(part)
            yield from _differences(old.get(part), new.get(part), below)
    elif old != new:
        yield key, old, new


class BlockWriter:
    """Writes blocks of one store, straight into its arrays. Cheap to send to a worker.

    Args:
        path: the store, its template already there.
        sites: for each site number the slices (rows, columns) of its window in the region.
    """

    def __init__(self, path: Location, sites: Mapping[str, tuple[slice, slice]]) -> None:
        self.path = path
        self.sites = dict(sites)
        self._root: zarr.Group | None = None
        self._arrays: dict[str, zarr.Array] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_root": None, "_arrays": {}}

    @property
    def root(self) -> zarr.Group:
        """The store's root, opened once a process."""
        if self._root is None:
            self._root = open_store(self.path, mode="r+")
        return self._root

    def write(self, block: Block, name: str, value: np.ndarray, valid_fraction: np.ndarray) -> None:
        """Write a forcing of a block: the region, its valid fraction, and every watershed's clip.

        Args:
            value, valid_fraction: float32 (steps, ny, nx) of the region.

        Raises:
            RunError: the disk is full or read-only.
        """
        parts = {
            f"region/{name}": value,
            f"region/{valid_fraction_name(name)}": valid_fraction,
            **{
                f"watersheds/{site}/{name}": value[:, rows, columns]
                for site, (rows, columns) in self.sites.items()
            },
        }
        arrays = [self._array(key).async_array for key in parts]
        steps = slice(block.start, block.stop)

        async def write_all() -> None:  # at once, not one after the other: twice as fast
            pairs = zip(arrays, parts.values(), strict=True)
            await asyncio.gather(*(array.setitem((steps,), part) for array, part in pairs))

        with writing(self.path):
            sync(write_all())

    def _array(self, name: str) -> zarr.Array:
        """An array, opened once a process."""
        if name not in self._arrays:
            self._arrays[name] = array_of(self.root, name)
        return self._arrays[name]

    def mark(self, block: Block) -> None:
        """Mark a block as done.

        Raises:
            RunError: the disk is full or read-only.
        """
        with writing(self.path):
            self._array(PROGRESS)[block.index] = np.uint64(block.stamp)


def valid_fraction_name(forcing: str) -> str:
    """Name of a forcing's valid fraction in /region."""
    return "valid_fraction" if forcing == "precipitation" else f"{forcing}_valid_fraction"


@contextmanager
def writing(path: Location) -> Iterator[None]:
    """Turn the operating system's refusal to write into one line.

    Raises:
        InputError: as `reaching`.
        RunError: the disk is full or read-only, or something is in the way; or as `reaching`.
    """
    try:
        with reaching(path):
            yield
    except OSError as error:
        raise RunError(
            f"{path}: not written ({error.strerror or error}): expected room on the disk and "
            "permission to write; what is done stays, and the same command goes on from there"
        ) from error
