"""Render a page that needs no network: style, scripts, BokehJS and all numbers are inside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
from bokeh.resources import Resources
from markupsafe import Markup

from pipeline.json_text import as_json

TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent),
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
    undefined=jinja2.StrictUndefined,
)
SHARED = ("overview.js", "hydrograph.js")  # scripts of all pages, before their own


def render(
    template: str,
    scripts: Sequence[str],
    data: Mapping[str, Any],
    blocks: Sequence[str],
    **fields: Any,
) -> str:
    """Render a template of this folder.

    Args:
        template: its name; it extends base.html.
        scripts: names of the page's own, which define what `overview.js` calls.
        data: what the scripts read, NaN for null: `heads` with `site_no` and `name`, `outlines`
            and others.
        blocks: of each head's panel, see `blocks.pack`.
        fields: what the template shows.
    """
    bokeh = Resources(mode="inline", components=["bokeh", "bokeh-api"], log_level="warn")
    return TEMPLATES.get_template(template).render(
        **fields,
        blocks=blocks,
        data=Markup(as_json(dict(data)).replace("<", "\\u003c")),
        bokeh=[Markup(text) for text in bokeh.js_raw],
        style=Markup(read("page.css")),
        scripts=[Markup(read(name)) for name in (*SHARED, *scripts)],
    )


def read(name: str) -> str:
    """Return the text of a file beside this one."""
    return (Path(__file__).parent / name).read_text(encoding="utf-8")
