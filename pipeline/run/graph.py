"""Draw the graph of a run's tasks: stages with their numbers of tasks and bytes, as SVG."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from pathlib import Path

from pipeline.errors import InputError, RunError
from pipeline.run.plan import Plan
from pipeline.run.summary import format_size

BOX_WIDTH, BOX_HEIGHT, GAP_X, GAP_Y, MARGIN = 210, 86, 60, 28, 20  # pixels
COLOURS = {  # by stage
    "share": "#dfe3e8",
    "cover": "#d8ecd4",
    "trace": "#c2e0c6",
    "gauge": "#fbe3c0",
    "finish": "#f3d1dc",
    "regrid": "#cfe2f7",
}


@dataclass(frozen=True)
class Stage:
    """Tasks of one kind.

    Attributes:
        name: with which the names of the tasks begin.
        tasks: how many.
        lines: what they do, with numbers.
        after: stages whose results they need.
        column, row: position in the drawing.
    """

    name: str
    tasks: int
    lines: tuple[str, ...]
    after: tuple[str, ...]
    column: int
    row: int


def stages(plan: Plan) -> list[Stage]:
    """Stages of a run that writes a whole store, in the order in which they can start."""
    sites, groups = len(plan.watersheds), len(plan.groups)
    one_file = "{site}" not in plan.catalog.gauges.files
    rasters = sum(block.rasters for block in plan.blocks)
    raw = sum(block.raw_bytes for block in plan.blocks)
    values = plan.steps * plan.step_bytes
    terrain = "on the terrain" if plan.catalog.terrain else "without terrain"
    records = sites * plan.steps * 5  # float32 and uint8
    return [
        Stage("share", 1, ("series and weights",), (), 0, 0),
        Stage(
            "regrid",
            len(plan.blocks),
            (f"{rasters} rasters, {format_size(raw)}", f"writes {format_size(values)}"),
            ("share",),
            1,
            0,
        ),
        Stage("cover", groups, (f"{sites} watersheds",), ("share",), 1, 1),
        Stage("trace", groups, (f"flow paths {terrain}",), ("cover",), 2, 1),
        Stage(
            "gauge",
            1 if one_file else groups,
            (f"{sites} records", f"writes {format_size(records)}"),
            (),
            1,
            2,
        ),
        Stage("finish", 1, ("tables of watersheds",), ("cover", "trace", "gauge"), 3, 1),
    ]


def draw(plan: Plan) -> str:
    """Draw the stages of a run as SVG; bytes written are before compression."""
    drawn = stages(plan)
    places = {
        one.name: (
            MARGIN + one.column * (BOX_WIDTH + GAP_X),
            MARGIN + one.row * (BOX_HEIGHT + GAP_Y),
        )
        for one in drawn
    }
    width = MARGIN + max(x for x, _ in places.values()) + BOX_WIDTH
    height = MARGIN + max(y for _, y in places.values()) + BOX_HEIGHT
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="13">',
        f"<title>{escape(plan.catalog.title)}</title>",
        '<defs><marker id="end" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" '
        'markerHeight="8" orient="auto"><path d="M0,0 L8,4 L0,8 z" fill="#555"/></marker></defs>',
        f'<rect width="{width}" height="{height}" fill="white"/>',
    ]
    for stage in drawn:
        for before in stage.after:
            if before == "cover" and stage.name == "finish":
                continue  # as trace shows
            parts.append(
                f'<path d="{_arrow(places[before], places[stage.name])}" '
                'stroke="#555" fill="none" marker-end="url(#end)"/>'
            )
    for stage in drawn:
        x, y = places[stage.name]
        plural = "s" * (stage.tasks > 1)
        parts.append(
            f'<rect x="{x}" y="{y}" width="{BOX_WIDTH}" height="{BOX_HEIGHT}" rx="6" '
            f'fill="{COLOURS[stage.name]}" stroke="#888"/>'
            f'<text x="{x + 12}" y="{y + 24}" font-weight="bold">{stage.name}</text>'
            f'<text x="{x + BOX_WIDTH - 12}" y="{y + 24}" text-anchor="end">'
            f"{stage.tasks} task{plural}</text>"
        )
        for line, text in enumerate(stage.lines):
            parts.append(f'<text x="{x + 12}" y="{y + 48 + 20 * line}">{escape(text)}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def _arrow(start: tuple[int, int], end: tuple[int, int]) -> str:
    """Path from the right of a box to the left of the next, or below others to the bottom."""
    (x0, y0), (x1, y1) = start, end
    begin = f"M{x0 + BOX_WIDTH},{y0 + BOX_HEIGHT / 2}"
    if x1 - x0 > BOX_WIDTH + GAP_X and y1 < y0:
        return f"{begin} H{x1 + BOX_WIDTH / 2} V{y1 + BOX_HEIGHT}"
    return f"{begin} L{x1},{y1 + BOX_HEIGHT / 2}"


def write_graph(plan: Plan, path: Path) -> None:
    """Write the drawing of a run's tasks.

    Raises:
        InputError: the file's name does not end in .svg.
        RunError: the file is not written.
    """
    if path.suffix.lower() != ".svg":
        raise InputError(f"--graph {path}: expected a name that ends in .svg")
    try:
        path.write_text(draw(plan))
    except OSError as error:
        raise RunError(
            f"{path}: not written ({error.strerror}): expected a folder to write to"
        ) from error
