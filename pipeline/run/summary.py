"""Describe a plan as text, for the terminal."""

from __future__ import annotations

from pipeline.run.memory import format_bytes
from pipeline.run.plan import Plan
from pipeline.storage import Location
from pipeline.store.extend import steps_before_extension
from pipeline.store.provenance import root_attributes
from pipeline.store.resume import remaining_blocks, require_same_inputs
from pipeline.store.root import is_absent, open_root


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
        ("watersheds", f"{len(plan.sites)}: {', '.join(s.watershed.site_no for s in plan.sites)}"),
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
                f"{_size(source.raw_files.size)}, {rows} x {columns} pixels of each",
            )
        )
        if missing:
            lines.append(("", f"{missing} of {missing + rasters} rasters are missing"))
    memory = plan.memory
    threads = f"{memory.limit.threads} thread" + "s" * (memory.limit.threads > 1)
    lines += [
        ("compute", f"{len(plan.blocks)} tasks, each a block of {plan.block_steps} steps"),
        ("memory", f"up to {format_bytes(memory.needed(plan.block_steps))} a worker of {threads}"),
        ("write", f"{_size(plan.steps * plan.step_bytes)} before compression"),
    ]
    if store is not None:
        lines.append(("store", _state(plan, store)))
    return "\n".join(f"{key:<10} {text}" for key, text in lines)


def _state(plan: Plan, store: Location) -> str:
    """Describe what is still to be done of a store."""
    if is_absent(store):
        return f"{store}: not there yet, everything is to be done"
    root = open_root(store)
    extended = steps_before_extension(root, plan.catalog.period) is not None
    require_same_inputs(store, root, root_attributes(plan), extended)
    todo = remaining_blocks(plan.blocks, root)
    if not todo:
        return f"{store}: finished, nothing is to be done"
    return (
        f"{store}: {len(todo)} of {len(plan.blocks)} tasks are to be done, "
        f"{sum(block.rasters for block in todo)} rasters, {_size(sum(b.raw_bytes for b in todo))}"
    )


def _size(count: float) -> str:
    """Format a number of bytes on disk: `1.2 GB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.4g} TB"
