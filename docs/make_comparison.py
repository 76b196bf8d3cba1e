"""Take the picture of `domst compare`: the small sample, trained with and without soil stores.

    python -m docs.make_comparison

Needs Chromium (Debian's package `chromium`). Writes under build/comparison, and docs/images. The
heads are trained for some updates only.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from io import BytesIO
from pathlib import Path

from PIL import Image

from model import Settings, train
from model.output.report.compare_page import write_comparison
from model.output.report.comparison import compare_runs
from pipeline.run.cluster import make_client
from pipeline.run.execute import run
from pipeline.sample.make import make_sample
from tests.pipeline.live.browser import open_tab

ROOT = Path(__file__).resolve().parent.parent
WORK, IMAGE = ROOT / "build/comparison", ROOT / "docs/images/compare.png"
WIDTH, HEIGHT, COLOURS = 1400, 2080, 128
SETTINGS = {"whole": Settings(updates=60), "without_soil_stores": Settings(updates=60, soil=False)}
SETTLED_SECONDS = 3.0  # after which the page is drawn


async def take(program: str, page: Path) -> bytes:
    """Return a PNG of the page with the panel of its first head open."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        async with open_tab(program, Path(profile), WIDTH, HEIGHT) as tab:
            await tab.call("Page.navigate", url=page.as_uri())
            await asyncio.sleep(SETTLED_SECONDS)
            await tab.evaluate("choose(0, false)")
            await asyncio.sleep(SETTLED_SECONDS)
            await tab.save_picture(WORK / "compare.png")
    return (WORK / "compare.png").read_bytes()


def main() -> None:
    """Make the small sample, train it twice, compare."""
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        raise SystemExit("chromium: not found: expected Debian's package")
    catalog, store = make_sample(WORK / "world", tiny=True), WORK / "sample.zarr"
    with make_client(processes=True, workers=1) as client:
        run(catalog, store, client)
        runs = [
            train(store, WORK / name, settings=settings, client=client).folder
            for name, settings in SETTINGS.items()
        ]
    write_comparison(compare_runs(runs), WORK / "compare.html")
    picture = Image.open(BytesIO(asyncio.run(take(program, WORK / "compare.html"))))
    picture.convert("RGB").quantize(COLOURS).save(IMAGE, optimize=True)
    print(f"{IMAGE.relative_to(ROOT)}: {IMAGE.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
