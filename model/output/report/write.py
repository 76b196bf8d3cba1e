"""Write report.html of a finished run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
import yaml
from bokeh.palettes import Cividis10
from bokeh.resources import Resources
from markupsafe import Markup
from pydantic import ValidationError

from model.output.figures import label
from model.output.journal import write_text
from model.output.progress import FLOORS, NO_INTERVAL, lacks_interval, loses, number
from model.output.report.measures import measures_of, medians, verdict
from model.output.report.panels import Panels, simplified
from model.output.run_directory import Run
from model.settings import Settings
from pipeline.errors import InputError
from pipeline.json_text import as_json

TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent),
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
    undefined=jinja2.StrictUndefined,
)


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
    path = run.folder / "run.yaml"
    about = run.about()
    if about is None:
        raise InputError(f"{path}: not found: expected that of a training or a prediction")
    try:
        settings = Settings(**about["settings"])
    except ValidationError as error:
        reason = " ".join(str(error).splitlines()[1:3])
        raise InputError(f"{path}: {reason}: expected a run of this version") from error
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
        "metrics": metrics,
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
    bokeh = Resources(mode="inline", components=["bokeh", "bokeh-api"], log_level="warn")
    return TEMPLATES.get_template("page.html").render(
        metrics=metrics,
        about=about,
        settings=yaml.safe_dump(about["settings"], sort_keys=False),
        measures=measures,
        rows=rows,
        medians=medians(heads),
        verdict=verdict(heads, metrics["history"]),
        no_interval=NO_INTERVAL if lacks_interval(heads) else None,
        snow=sum(isinstance(head["snow"], dict) for head in heads),
        blocks=blocks,
        floors=FLOORS,
        data=Markup(as_json(data).replace("<", "\\u003c")),
        bokeh=[Markup(script) for script in bokeh.js_raw],
        style=Markup(read("page.css")),
        scripts=[Markup(read(name)) for name in ("page.js", "panel.js")],
    )


def read(name: str) -> str:
    """Return the text of a file beside this one."""
    return (Path(__file__).parent / name).read_text(encoding="utf-8")
