"""GeoTIFFs on a lat/lon grid: their layout, and windows of their bands as float32 with NaN."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.errors import RasterioError
from rasterio.io import DatasetReader
from rasterio.windows import Window

from pipeline.errors import InputError

# A file's folder is neither listed nor searched for sidecar files: both cost more than the read.
FAST_OPEN = {"GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR", "GDAL_PAM_ENABLED": "NO"}
SAME_PLACE = 1e-3  # corners of the rasters of one series agree to this share of a pixel


@dataclass(frozen=True)
class Layout:
    """What all rasters of one series have in common.

    Attributes:
        path: the file from which it was read.
        shape: (rows, columns).
        crs: a geographic (lat/lon) reference system.
        transform: x of the first edge, width of a column, y of the first edge, height of a row, in
            degrees; width and height are negative where the axis descends.
        bands: number of bands.
    """

    path: Path
    shape: tuple[int, int]
    crs: CRS
    transform: tuple[float, float, float, float]
    bands: int

    @property
    def x_edges(self) -> NDArray[np.float64]:
        """Longitudes of the columns' edges [degrees], in the file's order."""
        x, width, _, _ = self.transform
        return x + width * np.arange(self.shape[1] + 1, dtype=np.float64)

    @property
    def y_edges(self) -> NDArray[np.float64]:
        """Latitudes of the rows' edges [degrees], in the file's order."""
        _, _, y, height = self.transform
        return y + height * np.arange(self.shape[0] + 1, dtype=np.float64)


@contextmanager
def _opened(path: Path) -> Iterator[DatasetReader]:
    """Open a GeoTIFF; whatever GDAL finds wrong while it is open is the file's fault.

    Call it within a `rasterio.Env`: `rasterio.open` would make another one for each file, which
    takes a quarter of the time that opening does.
    """
    try:
        with DatasetReader(str(path), driver="GTiff") as source:
            yield source
    except RasterioError as error:
        reason = " ".join(str(error.__cause__ or error).split())
        raise InputError(f"{path}: not readable ({reason}): expected a GeoTIFF") from error


def read_layout(path: Path) -> Layout:
    """The layout of a GeoTIFF.

    Raises:
        InputError: the file is not a readable GeoTIFF, has no CRS or a projected one, or its rows
            and columns do not follow parallels and meridians.
    """
    with rasterio.Env(**FAST_OPEN), _opened(path) as source:
        layout = _layout(path, source)
    crs = layout.crs
    if not crs:
        raise InputError(f"{path}: has no CRS: expected a geographic one (lat/lon in degrees)")
    if not crs.is_geographic:
        name = crs.to_string() if crs.to_epsg() else crs.to_wkt().split('"')[1]
        raise InputError(
            f"{path}: CRS {name} is projected: expected a geographic one (lat/lon in degrees)"
        )
    return layout


def _layout(path: Path, source: DatasetReader) -> Layout:
    t = source.transform
    if t.b or t.d or t.is_identity:
        raise InputError(
            f"{path}: geotransform {tuple(t)[:6]}: expected rows along parallels and columns along "
            "meridians"
        )
    return Layout(path, source.shape, source.crs, (t.c, t.a, t.f, t.e), source.count)


def _require_same(path: Path, source: DatasetReader, expected: Layout) -> None:
    found = _layout(path, source)
    compared: dict[str, tuple[object, object, bool]] = {
        "rows x columns": (found.shape, expected.shape, found.shape == expected.shape),
        "CRS": (found.crs or None, expected.crs, found.crs == expected.crs),
        "number of bands": (found.bands, expected.bands, found.bands == expected.bands),
        "origin and pixel size": (
            found.transform,
            expected.transform,
            found.transform == expected.transform or _same_place(found, expected),
        ),
    }
    for what, (one, other, same) in compared.items():
        if not same:
            raise InputError(f"{path}: {what} {one}: expected {other} as in {expected.path.name}")


def _same_place(found: Layout, expected: Layout) -> bool:
    """Whether the corners agree to a small share of a pixel; the shapes are the same."""
    if found.shape != expected.shape:
        return False
    return all(
        bool(np.abs(one - other).max() <= SAME_PLACE * abs(other[1] - other[0]))
        for one, other in (
            (found.x_edges, expected.x_edges),
            (found.y_edges, expected.y_edges),
        )
    )


def read_block(
    paths: Sequence[Path | None],
    layout: Layout,
    bands: Sequence[int],
    missing: Sequence[Sequence[float]],
    window: tuple[slice, slice],
) -> NDArray[np.float32]:
    """A window of some bands of some files, opening each file once.

    Args:
        paths: GeoTIFFs of the series that `layout` describes; None where a step has no file.
        layout: what each file has to look like.
        bands: band numbers, from 1.
        missing: for each band, codes in the file that mean missing, besides its nodata value.
        window: (rows, columns); columns from the width on start again at the first column.

    Returns:
        float32 (bands, paths, rows, columns), in the published units (scale and offset applied),
        NaN where missing or without a file.

    Raises:
        InputError: a file is not readable, or of another shape, CRS, number of bands or place.
    """
    rows, columns = window
    width = layout.shape[1]
    seam = min(columns.stop, width)
    parts = [(columns.start, seam)] + ([(0, columns.stop - width)] if columns.stop > width else [])
    windows = [Window.from_slices((rows.start, rows.stop), part) for part in parts]
    shape = (rows.stop - rows.start, columns.stop - columns.start)
    block = np.empty((len(bands), len(paths), *shape), np.float32)
    with rasterio.Env(**FAST_OPEN):
        for step, path in enumerate(paths):
            if path is None:
                block[:, step] = np.nan
                continue
            with _opened(path) as source:
                _require_same(path, source, layout)
                pieces = [source.read(list(bands), window=piece) for piece in windows]
                raw = pieces[0] if len(pieces) == 1 else np.concatenate(pieces, axis=2)
                for out, values, band, codes in zip(
                    block[:, step], raw, bands, missing, strict=True
                ):
                    _decode(out, values, source, band, codes)
    return block


def _decode(
    out: NDArray[np.float32],
    values: NDArray[np.generic],
    source: DatasetReader,
    band: int,
    codes: Sequence[float],
) -> None:
    """Write a band's values to `out`: scaled, and NaN where they are nodata or one of `codes`."""
    scale, offset = source.scales[band - 1], source.offsets[band - 1]
    out[...] = values if (scale, offset) == (1.0, 0.0) else values * scale + offset
    for code in (source.nodatavals[band - 1], *codes):
        if code is not None:
            out[values == code] = np.nan
