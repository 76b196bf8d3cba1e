"""Write report.html of a finished run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from bokeh.palettes import Cividis10

from model.output.figures import label
from model.output.heads_table import number
from model.output.journal import write_text
from model.output.progress import FLOORS, NO_INTERVAL, lacks_interval, loses
from model.output.report.discharge import describe_run
from model.output.report.measures import measures_of, medians, verdict
from model.output.report.panels import Panels, simplified
from model.output.report.render import render
from model.output.run_directory import Run


def write_report(run: Run, metrics: dict[str, Any], store: str | None = None) -> None:
    """Write report.html of a run whose heads are done, whole or not at all.

    Args:
        run: the run directory.
        metrics: the content of metrics.json, NaN for null.
        store: path or URL; the store of the run if left out.

    Raises:
        InputError: the store is not there, or lacks one of the watersheds; the run is of another
            version.
    """
    about, settings = describe_run(run)
    trained = Path(about.get("heads", run.folder)) / "checkpoints"
    panels = Panels(run, settings, trained, store or about["store"])
    read = [panels.read(head) for head in metrics["heads"]]
    blocks, outlines = [block for block, _ in read], [outline for _, outline in read]
    write_text(run.folder / "report.html", page(metrics, about, blocks, outlines))


def page(
    metrics: dict[str, Any],
    about: dict[str, Any],
    blocks: Sequence[str],
    outlines: Sequence[str],
) -> str:
    """Return the report as HTML.

    Args:
        metrics: the content of metrics.json.
        about: the content of run.yaml.
        blocks: of each head's panel, see `blocks.pack`.
        outlines: of each watershed, WKT in degrees.
    """
    heads = metrics["heads"]
    measures = measures_of(heads)
    data = {
        "heads": heads,
        "measures": {key: measure.name for key, measure in measures.items()},
        "floors": FLOORS,
        "outlines": simplified(list(outlines)),
        "colours": Cividis10,
    }
    rows = [
        {
            "name": label(head["name"], head["site_no"]),
            "loses": loses(head),
            "scores": {key: number(m.form, head[key]) for key, m in measures.items()},
        }
        for head in heads
    ]
    return render(
        "page.html",
        ("page.js", "panel.js"),
        data,
        blocks,
        title=metrics["title"],
        synthetic=metrics["synthetic"],
        metrics=metrics,
        about=about,
        settings=yaml.safe_dump(about["settings"], sort_keys=False),
        measures=measures,
        rows=rows,
        medians=medians(heads),
        verdict=verdict(heads, metrics["history"]),
        no_interval=NO_INTERVAL if lacks_interval(heads) else None,
        snow=sum(isinstance(head["snow"], dict) for head in heads),
        floors=FLOORS,
    )
