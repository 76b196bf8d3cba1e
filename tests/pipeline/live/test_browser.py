"""The page in headless Chromium: it opens from the menu, follows a run, and its table sorts."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from distributed import Client, LocalCluster

from pipeline.live.announce import Announcer
from pipeline.run.cluster import dashboard_address
from tests.pipeline.live.browser import CLICK, EACH, Tab, open_tab

TRAINING = {
    "kind": "training",
    "title": "Region",
    "folder": "runs/1",
    "updates": 100,
    "sites": ["01", "02", "03"],
    "names": ["Creek 1", "Creek 2", "Creek 3"],
    "outlines": [b""] * 3,
    "curves": {},
}
MENU = (
    EACH
    + """
each(one => { if (one.getAttribute("href") === "domst") one.click(); })
"""
)
POINTS = """
(() => { const curves = Bokeh.documents[0].get_model_by_name("curves");
  return curves ? [...curves.get_array("nse")].map(one => [...one]) : []; })()
"""


@pytest.fixture
def client() -> Iterator[Client]:
    with (
        LocalCluster(n_workers=0, dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster) as client,
    ):
        yield client


def test_the_page_follows_a_run_and_its_table_sorts(client: Client, tmp_path: Path) -> None:
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.skip("needs chromium")
    announcer = Announcer(client, "run1")

    async def validate(*lines: tuple[str, int, float]) -> None:
        for site, update, nse in lines:
            line = {"site_no": site, "update": update, "loss": 0.5, "validation_nse": nse}
            await asyncio.to_thread(announcer.send_line, {**line, "seconds": update})

    async def column(tab: Tab, position: int) -> list[str]:
        return [row[position] for row in await tab.rows()]

    async def visit() -> None:
        async with open_tab(program, tmp_path / "profile") as tab:
            await tab.call("Page.navigate", url=dashboard_address(client))
            await tab.wait_for("document.readyState", "complete")
            await tab.evaluate(MENU)
            await tab.wait_for("location.pathname + !!window.Bokeh", "/domsttrue")
            await tab.wait_for("Bokeh.documents.length", 1)
            await tab.wait_for(POINTS, [[0.25]])
            await validate(("01", 50, 0.5), ("02", 25, 0.75), ("03", 25, 0.125))
            await tab.wait_for(POINTS, [[0.25, 0.5], [0.75], [0.125]])
            for _ in range(50):
                if await column(tab, 6) == ["0.500", "0.750", "0.125"]:
                    break
                await asyncio.sleep(0.1)
            assert await column(tab, 6) == ["0.500", "0.750", "0.125"]
            await tab.evaluate(f"const TITLE = 'NSE'; {CLICK}")
            assert await column(tab, 0) == ["03", "01", "02"]
            await validate(("03", 50, 0.9))  # and stays sorted
            await tab.wait_for(POINTS, [[0.25, 0.5], [0.75], [0.125, 0.9]])
            for _ in range(50):
                if await column(tab, 0) == ["01", "02", "03"]:
                    break
                await asyncio.sleep(0.1)
            assert await column(tab, 0) == ["01", "02", "03"]
            assert not tab.errors
            assert {host.split(":")[0] for host in tab.hosts} == {"127.0.0.1"}  # works offline

    with announcer.running(**TRAINING):
        announcer.send_line(
            {"site_no": "01", "update": 25, "loss": 0.5, "validation_nse": 0.25, "seconds": 1.0}
        )
        asyncio.run(visit())
