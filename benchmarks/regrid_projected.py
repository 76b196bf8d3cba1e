"""Conservative regridding of projected rasters in memory: our kernel beside other programs.

    python -m benchmarks.regrid_projected [--json FILE]

Inputs: daily fields on the 1-km Lambert grid of Daymet and hourly ones on the polar stereographic
grid of Stage IV, generated, over the 84 x 48 cells of Iowa; complete, and with missing values that
change from step to step. Methods and conditions are those of `benchmarks.regrid`, without the
programs that need longitude and latitude. The exact result comes from shapely: polygons of pixels
and cells in an equal-area projection, with many points on each side.
"""

from __future__ import annotations

import typer

from benchmarks.regrid_comparison import CORES, JsonFile, Repeats, Share, Threads, compare
from benchmarks.regrid_rasters import LAMBERT, STAGE_IV


def main(
    json_file: JsonFile = None, share: Share = 1.0, repeats: Repeats = 3, threads: Threads = CORES
) -> None:
    """Time our regridding of projected rasters beside others, against the exact result."""
    compare((LAMBERT, STAGE_IV), share, repeats, threads, json_file)


if __name__ == "__main__":
    typer.run(main)
