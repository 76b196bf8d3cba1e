"""Whether a TIFF file is as long as its tags need.

GDAL refuses pixels that lie beyond its end, but takes a scale, an offset or a nodata value there
for none: tenths of mm would become mm.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path

from pipeline.errors import InputError

# Of TIFF and BigTIFF: place of the first directory's offset, its format, that of the number of
# entries, and of an entry: tag, type, number of values, and the value or its offset.
LAYOUTS = {42: (4, "I", "H", "HHII"), 43: (8, "Q", "Q", "HHQQ")}
SIZES = (0, 1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4, 0, 0, 8, 8, 8)  # bytes of a value, by type


def require_tags(path: Path) -> None:
    """Raise if a tag of the first directory of a TIFF file lies beyond its end.

    Raises:
        InputError: one does.
        OSError: the file is not readable.
    """
    with path.open("rb") as file:
        head = file.read(16)
        order = {b"II": "<", b"MM": ">"}.get(head[:2])
        if order is None or len(head) < 16:
            return
        layout = LAYOUTS.get(struct.unpack(f"{order}H", head[2:4])[0])
        if layout is None:
            return
        at, offset, count, entry = layout[0], *(order + part for part in layout[1:])
        (start,) = struct.unpack_from(offset, head, at)
        file.seek(start)
        counted = file.read(struct.calcsize(count))
        if len(counted) < struct.calcsize(count):
            return  # which GDAL refuses
        size = struct.calcsize(entry) * struct.unpack(count, counted)[0]
        tags = file.read(min(size, 2**20))
        held = os.fstat(file.fileno()).st_size
    whole = tags[: len(tags) - len(tags) % struct.calcsize(entry)]
    inline = struct.calcsize(offset)
    for tag, kind, number, value in struct.iter_unpack(entry, whole):
        needed = number * SIZES[kind] if kind < len(SIZES) else 0
        if needed > inline and value + needed > held:
            raise InputError(
                f"{path}: ends after {held} bytes: expected {value + needed}, as its tag {tag} says"
            )
