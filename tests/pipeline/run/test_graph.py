"""The drawing of a run's tasks says what the run submits."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections import Counter

import pytest

from pipeline.catalog.models import load_catalog
from pipeline.run.cluster import make_client
from pipeline.run.execute import run
from pipeline.run.graph import draw, stages
from pipeline.run.plan import make_plan
from tests.pipeline.handmade import World
from tests.pipeline.test_command_line import require_one_line


def test_stages_are_those_that_a_run_submits(world: World, monkeypatch: pytest.MonkeyPatch):
    catalog = load_catalog(world.catalog)
    keys: list[str] = []
    with make_client(workers=2) as client:
        submit = client.submit

        def watch(*arguments, **settings):
            keys.append(settings["key"])
            return submit(*arguments, **settings)

        monkeypatch.setattr(client, "submit", watch)
        run(catalog, world.store, client)
    submitted = Counter(key.partition("-")[0] for key in keys)
    assert {stage.name: stage.tasks for stage in stages(make_plan(catalog))} == submitted


def test_the_drawing_is_svg_with_every_stage_inside(world: World):
    plan = make_plan(load_catalog(world.catalog))
    root = ET.fromstring(draw(plan))
    texts = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {stage.name for stage in stages(plan)} <= set(texts)
    assert "12 rasters" in " ".join(filter(None, texts))
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    for box in root.iter("{http://www.w3.org/2000/svg}rect"):
        at = box.attrib
        assert float(at.get("x", 0)) + float(at["width"]) <= width
        assert float(at.get("y", 0)) + float(at["height"]) <= height


def test_the_command_writes_it(world: World):
    path = world.folder / "graph.svg"
    assert world.command("plan", world.catalog, "--graph", path).exit_code == 0
    assert path.read_text().startswith("<svg")
    png = world.command("plan", world.catalog, "--graph", world.folder / "graph.png")
    require_one_line(png, 2, "graph.png", "ends in .svg")
    nowhere = world.command("plan", world.catalog, "--graph", world.folder / "no" / "graph.svg")
    require_one_line(nowhere, 1, "graph.svg", "not written")
