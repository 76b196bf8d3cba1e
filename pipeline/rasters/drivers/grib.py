"""Read GRIB messages, editions 1 and 2, which are bands for GDAL.

A message's label is its validity time, the end of its accumulation.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import groupby

import numpy as np
from numpy.typing import NDArray
from rasterio.io import DatasetReader

from pipeline.catalog.raster_source import RasterSource
from pipeline.errors import InputError
from pipeline.log import get_logger
from pipeline.rasters.drivers.gdal import (
    GdalLayout,
    layout_of,
    read_bands,
    require_same,
    windows_of,
    write_band,
)
from pipeline.rasters.drivers.gdal_open import environment, opened, opened_binary
from pipeline.rasters.drivers.grib_messages import field_grids, products_of_edition_1
from pipeline.rasters.files import ONLY, Place, format_duration
from pipeline.rasters.pixels import Layout
from pipeline.storage import Location

LOG = get_logger(__name__)
# What may tell messages of one time from each other.
TELLING = (
    "GRIB_ELEMENT", "GRIB_SHORT_NAME", "GRIB_COMMENT", "GRIB_PDS_PDTN", "GRIB_REF_TIME",
    "GRIB_FORECAST_SECONDS",
)  # fmt: skip
UNITS_OF_EDITION_1 = (0, 1, 2, 10, 11, 12)  # code table 4, where they are those of edition 2
INSTANT, MEANS_AND_SUMS = 0, (3, 4, 5)  # code table 5
ECMWF, ECMWF_RAIN = 98, (142, 143, 228)  # the centre; its parameters lsp, cp and tp
MOST_UNITS = 100_000  # of time that an interval may last
HOUR = timedelta(hours=1)
UNITS = {  # of time, code table 4.4
    0: HOUR / 60, 1: HOUR, 2: 24 * HOUR, 10: 3 * HOUR, 11: 6 * HOUR, 12: 12 * HOUR, 13: HOUR / 3600,
}  # fmt: skip


def _messages(path: Location, file: DatasetReader, source: RasterSource) -> dict[datetime, int]:
    """Bands of the messages that a source selects, by label (naive UTC).

    Raises:
        InputError: no message, or two of one time.
    """
    found: dict[datetime, int] = {}
    for band in file.indexes:
        tags = file.tags(band)
        if any(tags.get(key) != str(value) for key, value in source.select.items()):
            continue
        seconds = int(tags["GRIB_VALID_TIME"].split()[0])
        label = datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None)
        if label in found:
            other = file.tags(found[label])
            differ = [
                f"{key}: {other.get(key, '')!r} or {tags.get(key, '')!r}"
                for key in TELLING
                if tags.get(key) != other.get(key)
            ]
            raise InputError(
                f"{path}: messages {found[label]} and {band}, of {label}, both match "
                f"{source.select}: expected one of a time (select"
                + (f"; they differ in {', '.join(differ)})" if differ else ")")
            )
        found[label] = band
    if not found:
        known = {file.tags(band).get("GRIB_ELEMENT", "") for band in file.indexes}
        raise InputError(
            f"{path}: none of its {file.count} messages, of {', '.join(sorted(known))}, matches "
            f"{source.select}: expected some (select)"
        )
    return found


def _require_one_grid(
    path: Location, file: DatasetReader, source: RasterSource, bands: Iterable[int]
) -> None:
    """Raise if a message has another grid than the first one, which GDAL takes for that of all.

    Raises:
        InputError: one has.
    """
    if file.count == 1:
        return
    with opened_binary(path, source) as content:
        grids = list(field_grids(content))
    if len(grids) == file.count:
        odd = [band for band in bands if grids[band - 1] != grids[0]]
    else:  # which field is which band is not known
        odd = [number + 1 for number, grid in enumerate(grids) if grid != grids[0]]
    if odd:
        raise InputError(
            f"{path}: message {odd[0]} lies on another grid than message 1: expected one grid in a "
            "file; grib_copy of ecCodes splits it"
        )


def _length(tags: dict[str, str]) -> timedelta | None:
    """Length of the interval that a message of edition 2 is a sum or mean over, or None.

    Such messages have product definition template 4.8, whose values 26 and 27 are unit and length.
    """
    values = tags.get("GRIB_PDS_TEMPLATE_ASSEMBLED_VALUES", "").split()
    if tags.get("GRIB_PDS_PDTN") != "8" or len(values) < 27 or int(values[25]) not in UNITS:
        return None
    number = int(values[26])
    if number >= 2**31:  # Canada counts back from the reference time
        number = 2**32 - number
    return number * UNITS[int(values[25])] if number <= MOST_UNITS else None


def _lengths_of_edition_1(
    path: Location, file: DatasetReader, source: RasterSource, used: Sequence[int]
) -> dict[int, timedelta]:
    """Lengths of the intervals that messages of edition 1 are sums or means over, by band.

    Octets 18 to 21 of section 1 are the interval's unit, begin, end and kind (code tables 4, 5).
    ECMWF's sums of forecasts state an instant: whether they run on, the file does not tell.
    """
    if "GRIB_PDS_PDTN" in file.tags(1):  # edition 2
        return {}
    with opened_binary(path, source) as content:
        products = dict(enumerate(products_of_edition_1(content), 1))
    found = {}
    for band in used:
        product = products.get(band, b"")
        if len(product) < 21 or product[17] not in UNITS_OF_EDITION_1:
            continue
        begin, end, kind = product[18:21]
        if kind in MEANS_AND_SUMS and end > begin:
            found[band] = (end - begin) * UNITS[product[17]]
        is_sum = product[4] == ECMWF and product[8] in ECMWF_RAIN
        if is_sum and kind == INSTANT and begin and source.totals is None:
            LOG.warning(
                "%s: message %d of %s, %s after its reference time, states no interval, and "
                "ECMWF's forecasts hold totals since that time: read as amounts (totals)",
                path, band, file.tags(band).get("GRIB_ELEMENT"),
                format_duration(begin * UNITS[product[17]]),
            )  # fmt: skip
            break
    return found


def _labels(
    path: Location, file: DatasetReader, sources: Sequence[RasterSource]
) -> tuple[list[datetime], list[dict[datetime, int]]]:
    """Labels for which every source has a message, ascending, and each source's bands."""
    bands = [_messages(path, file, source) for source in sources]
    return sorted(set.intersection(*map(set, bands))), bands


def read_layout(path: Location, sources: Sequence[RasterSource]) -> GdalLayout:
    """Read the layout of the messages that some sources select.

    Raises:
        InputError: the file is not readable or holds none of a source's messages.
    """
    with environment(sources[0]), opened(path, sources[0]) as file:
        labels, bands = _labels(path, file, sources)
        used = [number for found in bands for number in found.values()]
        _require_one_grid(path, file, sources[0], used)
        tags = [file.tags(next(iter(found.values()))) for found in bands]
        units = tuple(about.get("GRIB_UNIT", "").strip("[]-") for about in tags)
        known = _lengths_of_edition_1(path, file, sources[0], used)
        stated = {number: _length(file.tags(number)) or known.get(number) for number in used}
        lengths = {length for length in stated.values() if length}
        each = [stated[bands[0][label]] for label in labels]
        begins = [
            label - length for label, length in zip(labels, each, strict=True) if length is not None
        ]
        whole = tuple(begins) if len(begins) == len(labels) else ()
        layout = layout_of(path, file, sources[0], units, tuple(sorted(lengths)), whole)
        about = ("GRIB_ELEMENT", "GRIB_COMMENT")
        only = labels[0] if len(labels) == 1 else None
        return replace(
            layout, label=only, about=tuple(tuple(one.get(k, "") for k in about) for one in tags)
        )


def read_times(path: Location, sources: Sequence[RasterSource]) -> list[datetime]:
    """Read the labels (naive UTC) of a file's rasters, ascending.

    Raises:
        InputError: the file is not readable; a source selects no message, two of one time, or
            some on another grid than the file's first.
    """
    with environment(sources[0]), opened(path, sources[0]) as file:
        labels, bands = _labels(path, file, sources)
        used = [number for found in bands for number in found.values()]
        _require_one_grid(path, file, sources[0], used)
        return labels


def read_block(
    places: Sequence[Place | None],
    layout: Layout,
    sources: Sequence[RasterSource],
    window: tuple[slice, slice],
) -> NDArray[np.float32]:
    """Read a window of some messages of some files, opening each file once.

    A message is always decoded as a whole.

    Args:
        places: of the rasters; None without one.
        layout: that each file must have.
        sources: one per forcing, which selects its messages.
        window: (rows, columns); columns from the width on start again at the first column.

    Returns:
        float32 (sources, places, rows, columns), in the published units, NaN where missing or
        without a file.

    Raises:
        InputError: a file is not readable, or differs from `layout`.
    """
    assert isinstance(layout, GdalLayout)
    windows, shape = windows_of(window, layout)
    block = np.full((len(sources), len(places), *shape), np.nan, np.float32)
    numbered = [(k, place) for k, place in enumerate(places) if place is not None]
    with environment(sources[0]):
        for path, group in groupby(numbered, key=lambda item: item[1][0]):
            with opened(path, sources[0]) as file:
                require_same(path, file, layout, bands=False)
                labels, bands = _labels(path, file, sources)
                used = [number for found in bands for number in found.values()]
                _require_one_grid(path, file, sources[0], used)
                for k, (_, position) in group:
                    if position == ONLY and len(labels) != 1:
                        raise InputError(
                            f"{path}: holds {len(labels)} rasters: expected one, of the time in "
                            "its name, or times: file in the catalog"
                        )
                    label = labels[0 if position == ONLY else position]
                    chosen = [found[label] for found in bands]
                    raw = read_bands(file, chosen, windows)
                    for number, (band, source) in enumerate(zip(chosen, sources, strict=True)):
                        write_band(block[number, k], raw[number], file, band, source)
    return block
