"""Walk through the messages of a GRIB file, whose grids GDAL takes for that of the first one.

After the WMO Manual on Codes, FM 92: a message of edition 1 is one field; in edition 2 sections 2
to 7 may repeat, and a field's grid is the section 3 before it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO

GAP = 2**16  # bytes between two messages, which some centres fill up
START = 16  # bytes that begin every message
END = b"7777"


def field_grids(file: IO[bytes]) -> Iterator[bytes]:
    """Yield the grid section of each field, in the file's order, which is that of GDAL's bands."""
    at = _next_message(file, 0)
    while at is not None:
        file.seek(at)
        head = file.read(START)
        if len(head) < START:  # cut
            return
        if head[7] == 1:
            length = int.from_bytes(head[4:7], "big")
            yield _grid_of_edition_1(file, at)
        else:
            length = int.from_bytes(head[8:16], "big")
            yield from _grids_of_edition_2(file, at + START, at + length)
        at = _next_message(file, at + max(length, START))


def products_of_edition_1(file: IO[bytes]) -> Iterator[bytes]:
    """Yield the product section of each message, in the file's order, up to one of edition 2."""
    at = _next_message(file, 0)
    while at is not None:
        file.seek(at)
        head = file.read(START)
        if len(head) < START or head[7] != 1:
            return
        file.seek(at + 8)
        yield _section(file, 3)
        at = _next_message(file, at + max(int.from_bytes(head[4:7], "big"), START))


def _next_message(file: IO[bytes], at: int) -> int | None:
    """Where the next message begins; None at the end."""
    file.seek(at)
    found = file.read(GAP).find(b"GRIB")
    return None if found < 0 else at + found


def _grid_of_edition_1(file: IO[bytes], at: int) -> bytes:
    file.seek(at + 8)
    product = file.read(8)
    if not product[7] & 0x80:  # no section 2
        return b""
    file.seek(at + 8 + int.from_bytes(product[:3], "big"))
    return _section(file, 3)


def _grids_of_edition_2(file: IO[bytes], at: int, end: int) -> Iterator[bytes]:
    grid = b""
    while at < end:
        file.seek(at)
        head = file.read(5)
        length = int.from_bytes(head[:4], "big")
        if head[:4] == END or length < 5:
            return
        if head[4] == 3:
            file.seek(at)
            grid = _section(file, 4)
        elif head[4] == 7:
            yield grid
        at += length


def _section(file: IO[bytes], size: int) -> bytes:
    """Read a section that begins here with its length in `size` bytes."""
    begin = file.read(size)
    return begin + file.read(max(0, int.from_bytes(begin, "big") - size))
