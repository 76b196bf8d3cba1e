"""Describe a plan: as text for people, as plain values for programs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.catalog.presets import describe_preset
from pipeline.run.memory import format_bytes
from pipeline.run.plan import Plan, RasterBlock
from pipeline.storage import Location
from pipeline.store.changes import find_changes
from pipeline.store.provenance import root_attributes, tables_stamp
from pipeline.store.root import TABLES, is_absent, open_root, read_marks
from pipeline.units import M2_PER_KM2, RUNOFF_M_S
from pipeline.watersheds.polygons import Watershed

SHOWN_SITES = 8


def describe_plan(plan: Plan, store: Location | None = None) -> str:
    """Describe what a run would read, compute and write; with a store, what is still to be done.

    Raises:
        InputError: the store is another catalog's.
    """
    catalog, grid = plan.catalog, plan.grid
    period = catalog.period
    west, south, east, north = grid.bounds
    lines = [
        ("catalog", f"{catalog.path}" + (" (synthetic)" if catalog.synthetic else "")),
        ("period", f"{period.start} to {period.end} UTC: {plan.steps} steps of a {period.step}"),
        (
            "region",
            f"{west:g}..{east:g} E, {south:g}..{north:g} N: "
            f"{grid.ny} x {grid.nx} = {grid.ny * grid.nx} cells",
        ),
        ("watersheds", f"{len(plan.sites)}: {_few(plan.watersheds)}"),
        *_outlets(plan.watersheds),
    ]
    for source in plan.sources:
        series, (rows, columns) = source.series, source.weights.raw_shape
        files, rasters = source.raw_files.count, int(series.present.sum())
        missing = int((~series.present).sum())
        held = f"{rasters} rasters in {files}" if rasters != files else f"{rasters}"
        lines.append(
            (
                "read",
                f"{', '.join(series.names)}: {held} files, "
                f"{format_size(source.raw_files.size)}, {rows} x {columns} pixels of each",
            )
        )
        if missing:
            lines.append(("", f"{missing} of {missing + rasters} rasters are missing"))
        lines += [
            ("product", f"{name}: {describe_preset(one)}")
            for name, one in zip(series.names, series.sources, strict=True)
            if one.product is not None
        ]
    if catalog.gauges.units in RUNOFF_M_S:
        reported = sum(one.reported_area is not None for one in plan.watersheds)
        lines.append(
            (
                "read",
                f"discharge in {catalog.gauges.units} times the reported area of {reported} "
                f"watersheds, the polygon's of {len(plan.watersheds) - reported}",
            )
        )
    memory = plan.memory
    threads = f"{memory.limit.threads} thread" + "s" * (memory.limit.threads > 1)
    lines += [
        ("compute", f"{len(plan.blocks)} blocks of {plan.block_steps} steps"),
        ("memory", f"up to {format_bytes(memory.needed(plan.block_steps))} a worker of {threads}"),
        ("write", f"{format_size(plan.steps * plan.step_bytes)} before compression"),
    ]
    if store is not None:
        lines += _state(plan, store)
    return "\n".join(f"{key:<10} {text}" for key, text in lines)


def _few(watersheds: Sequence[Watershed]) -> str:
    """First site numbers."""
    more = len(watersheds) - SHOWN_SITES
    first = ", ".join(one.site_no for one in watersheds[:SHOWN_SITES])
    return f"{first} and {more} more" if more > 0 else first


def _outlets(watersheds: Sequence[Watershed]) -> list[tuple[str, str]]:
    """Area of the first delineated watersheds, and how far their outlets were moved."""
    lines = []
    for one in watersheds[:SHOWN_SITES]:
        if one.outlet is not None:
            known = one.reported_area
            against = (
                "area not known"
                if known is None
                else f"{one.area / known - 1:+.1%} off the known {known / M2_PER_KM2:.4g} km2"
            )
            lines.append(
                (
                    "",
                    f"{one.site_no}: {one.area / M2_PER_KM2:.4g} km2, {against}, outlet moved "
                    f"{one.outlet.moved:.0f} m",
                )
            )
    return lines


def _state(plan: Plan, store: Location) -> list[tuple[str, str]]:
    """Describe what is still to be done of a store."""
    if is_absent(store):
        return [("store", f"{store}: not there yet, everything is to be done")]
    left = _left(plan, store)
    lines = [("changes" if n == 0 else "", text) for n, text in enumerate(left.changes)]
    if not left.blocks and not left.tables:
        return [*lines, ("store", f"{store}: finished, nothing is to be done")]
    text = (
        f"{store}: {len(left.blocks)} of {len(plan.blocks)} blocks are to be done, "
        f"{sum(block.rasters for block in left.blocks)} rasters, "
        f"{format_size(sum(block.raw_bytes for block in left.blocks))}"
    )
    return [*lines, ("store", text + ("; and the tables of watersheds and gauges" * left.tables))]


@dataclass(frozen=True)
class Left:
    """What is still to be done of a store.

    Attributes:
        changes: what a changed catalog changes, a line each.
        blocks: that are to be done.
        tables: whether the tables of watersheds and gauges are.
    """

    changes: list[str]
    blocks: list[RasterBlock]
    tables: bool


def _left(plan: Plan, store: Location) -> Left:
    """What is still to be done of a store; all of one that is not there."""
    if is_absent(store):
        return Left([], list(plan.blocks), True)
    root, expected = open_root(store), root_attributes(plan)
    changes = find_changes(store, root, plan, expected)
    marks = read_marks(root)
    todo = [
        block
        for block in plan.blocks
        if any(
            name not in marks
            or block.index >= marks[name].size
            or marks[name][block.index] != stamp
            for name, stamp in block.stamps.items()
        )
    ]
    return Left(list(changes.lines), todo, root.attrs.get(TABLES) != tables_stamp(plan, expected))


def summarise_plan(plan: Plan, store: Location | None = None) -> dict[str, Any]:
    """Return what a run would read, compute and write as plain values, for programs.

    Raises:
        InputError: the store is another catalog's.
    """
    catalog, grid, memory = plan.catalog, plan.grid, plan.memory
    found: dict[str, Any] = {
        "catalog": str(catalog.path),
        "title": catalog.title,
        "synthetic": catalog.synthetic,
        "period": {
            "start": catalog.period.start.isoformat(),
            "end": catalog.period.end.isoformat(),
            "step": catalog.period.step,
            "steps": plan.steps,
        },
        "region": {"bounds": list(grid.bounds), "rows": grid.ny, "columns": grid.nx},
        "watersheds": [
            {
                "site": one.site_no,
                "area_m2": one.area,
                "reported_area_m2": one.reported_area,
                "outlet_moved_m": None if one.outlet is None else one.outlet.moved,
            }
            for one in plan.watersheds
        ],
        "sources": [
            {
                "forcings": list(source.series.names),
                "rasters": int(source.series.present.sum()),
                "missing": int((~source.series.present).sum()),
                "files": source.raw_files.count,
                "bytes": source.raw_files.size,
                "rows": source.weights.raw_shape[0],
                "columns": source.weights.raw_shape[1],
            }
            for source in plan.sources
        ],
        "blocks": len(plan.blocks),
        "block_steps": plan.block_steps,
        "threads": memory.limit.threads,
        "worker_bytes": memory.needed(plan.block_steps),
        "store_bytes": plan.steps * plan.step_bytes,
    }
    if store is not None:
        left = _left(plan, store)
        found["store"] = {
            "path": str(store),
            "exists": not is_absent(store),
            "finished": not left.blocks and not left.tables,
            "changes": left.changes,
            "blocks": len(left.blocks),
            "rasters": sum(block.rasters for block in left.blocks),
            "bytes": sum(block.raw_bytes for block in left.blocks),
            "tables": left.tables,
        }
    return found


def format_size(count: float) -> str:
    """Format a number of bytes on disk: `1.2 GB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.4g} TB"
