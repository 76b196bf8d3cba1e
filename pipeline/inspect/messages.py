"""Which messages of a GRIB file are rain."""

from __future__ import annotations

from rasterio.io import DatasetReader

from pipeline.inspect.description import OPEN, Description
from pipeline.rasters.quantity import names_rain, part_of_rain

ELEMENT, COMMENT, TEMPLATE = "GRIB_ELEMENT", "GRIB_COMMENT", "GRIB_PDS_PDTN"
RAIN_ELEMENTS = ("APCP", "TP", "TPRATE", "PRATE")
OVER_TIME = "8"  # the template of sums and means over an interval


def select_messages(description: Description, file: DatasetReader) -> int:
    """Propose what selects the messages of rain, and return the first of them."""
    tags = {band: file.tags(band) for band in file.indexes}
    rain = {
        band: one
        for band, one in tags.items()
        if one.get(ELEMENT) in RAIN_ELEMENTS
        or names_rain(one.get(ELEMENT, ""), one.get(COMMENT, ""))
    }
    if not rain:
        description.propose("select", {}, f"{OPEN}: is it rain? No message is named so")
        return 1
    elements = sorted(
        {one.get(ELEMENT, "") for one in rain.values()},
        key=lambda one: (one not in RAIN_ELEMENTS, one),
    )
    select: dict[str, str | int] = {ELEMENT: elements[0]}
    chosen = {band: one for band, one in rain.items() if one.get(ELEMENT) == elements[0]}
    templates = {one.get(TEMPLATE) for one in chosen.values()}
    if len(templates) > 1 and OVER_TIME in templates:
        select[TEMPLATE] = int(OVER_TIME)
        chosen = {band: one for band, one in chosen.items() if one.get(TEMPLATE) == OVER_TIME}
    first, about = next(iter(chosen.items()))
    reason = about.get(COMMENT, "")
    if part := part_of_rain(reason):
        reason = f"{OPEN}: {part!r}: is it all the rain?"
    elif elements[1:]:
        reason = f"{OPEN}: or {', '.join(elements[1:])}"
    description.propose("select", select, reason)
    return first
