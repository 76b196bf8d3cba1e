"""Take the pictures of the live page while the synthetic sample is regridded and trained.

    python -m docs.make_screenshots

Needs Chromium (Debian's package `chromium`). Writes under build/screenshots, and the PNGs into
docs/images. The heads are trained for some updates only.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from threading import Event

from distributed import Client

from model import Settings, train
from model.output.progress import Progress
from pipeline.live.announce import register
from pipeline.live.stages import PipelineStatus
from pipeline.run.cluster import dashboard_address, make_client
from pipeline.run.execute import run
from pipeline.sample.make import make_sample
from tests.pipeline.live.browser import open_tab

ROOT = Path(__file__).resolve().parent.parent
WORK, IMAGES = ROOT / "build/screenshots", ROOT / "docs/images"
WIDTH = 1400
RASTERS_SHARE, HEADS_DONE = 0.5, 9  # when a picture is taken
UPDATES = 60
SETTLED_SECONDS = 3.0  # after which the page shows what has happened


class Counter(Progress):
    """Says when some heads are done."""

    def __init__(self, ready: Event) -> None:
        self.ready, self.done = ready, 0

    def head_done(self, score: dict[str, object]) -> None:
        self.done += 1
        if self.done >= HEADS_DONE:
            self.ready.set()


async def take(client: Client, height: int, name: str, work: Callable[[Event], object]) -> None:
    """Open the page, do the work in a thread, and take the picture when it says so.

    Args:
        client: whose scheduler has the page.
        height: of the picture [pixels].
        name: of its file.
        work: sets the event when the picture is to be taken.
    """
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        raise SystemExit("chromium: not found: expected Debian's package")
    ready, page = Event(), dashboard_address(client).replace("/status", "/domst")
    register(client)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        async with open_tab(program, Path(profile), WIDTH, height) as tab:
            await tab.call("Page.navigate", url=page)
            await tab.wait_for("!!window.Bokeh && Bokeh.documents.length", 1)
            working = asyncio.create_task(asyncio.to_thread(work, ready))
            while not ready.is_set() and not working.done():
                await asyncio.sleep(0.1)
            await asyncio.sleep(SETTLED_SECONDS)
            await tab.save_picture(IMAGES / name)
            print(f"docs/images/{name}: {(IMAGES / name).stat().st_size / 1000:.0f} kB")
            await working


def main() -> None:
    """Make the sample, write its store, train its heads."""
    shutil.rmtree(WORK, ignore_errors=True)
    catalog, store = make_sample(WORK / "world"), WORK / "sample.zarr"

    with make_client(workers=2) as client:

        def regrid(ready: Event) -> None:
            def progress(status: PipelineStatus) -> None:
                if status.rasters_done >= RASTERS_SHARE * status.rasters:
                    ready.set()

            run(catalog, store, client, progress)

        asyncio.run(take(client, 800, "live_pipeline.png", regrid))

    with make_client(processes=True, workers=2) as client:
        settings = Settings(updates=UPDATES, evaluate_every=3)

        def fit(ready: Event) -> None:
            train(store, WORK / "run", settings=settings, client=client, progress=Counter(ready))

        asyncio.run(take(client, 910, "live_training.png", fit))


if __name__ == "__main__":
    main()
