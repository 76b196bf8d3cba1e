"""Conservative regridding of lat/lon rasters in memory: our kernel beside other programs.

    python -m benchmarks.regrid [--json FILE]

Inputs: hourly fields of about 0.01 degree (800 x 500 pixels, 720 steps) and ten years of daily
ones on PRISM's 1/24 degree, generated, over the 84 x 48 cells of Iowa; complete, and with missing
values that change from step to step. All methods get the same arrays and, where they can use them,
the same number of threads; slow ones get fewer steps and one round, so compare millions of pixels a
second.

- Dom-ST: the pipeline's kernel with its weights at hand
- Dom-ST, regrid(): the public function, from xarray to xarray, in memory and on Dask; each call
  finds its weights anew, on Dask it also copies the fields into chunks
- xarray-regrid; xESMF's step of applying weights; GDAL's average through rioxarray and odc-geo;
  exactextract and gdptools over the cells as polygons: see `benchmarks.regrid_peers`
- CDO: reads and writes files in memory; the time of reading the fields and writing one pixel is
  subtracted. It assumes a sphere and is given authalic latitudes, so its areas are the ellipsoid's

The exact result comes from areas on PROJ's equal-area cylinder of the ellipsoid, in float64.
Peers that are not installed are left out; CDO is Debian's `cdo`, the others are the extra `bench`.
"""

from __future__ import annotations

import typer

from benchmarks.regrid_comparison import CORES, JsonFile, Repeats, Share, Threads, compare
from benchmarks.regrid_rasters import HUNDREDTH, PRISM


def main(
    json_file: JsonFile = None, share: Share = 1.0, repeats: Repeats = 3, threads: Threads = CORES
) -> None:
    """Time our regridding of lat/lon rasters beside others, against the exact result."""
    compare((HUNDREDTH, PRISM), share, repeats, threads, json_file)


if __name__ == "__main__":
    typer.run(main)
