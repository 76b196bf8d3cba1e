"""Whether a classic NetCDF file is as long as its header says.

The NetCDF library reads zeros beyond the end of a truncated one; only NetCDF 4 it refuses.
"""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import IO

from pipeline.errors import InputError

COUNT = {1: 4, 2: 4, 5: 8}  # bytes of a count, by version: classic, 64-bit offset, 64-bit data
OFFSET = {1: 4, 2: 8, 5: 8}
SIZES = (0, 1, 1, 2, 4, 4, 8, 1, 2, 4, 8, 8)  # bytes of a number, by external type
MOST = 2**20  # entries of a list; a damaged count is larger


def require_whole(path: Path) -> None:
    """Raise if a classic NetCDF file ends before its data do.

    Raises:
        InputError: it does, or its header is cut.
        OSError: it is not readable.
    """
    with path.open("rb") as file:
        head = file.read(4)
        if head[:3] != b"CDF" or head[3] not in COUNT:
            return
        try:
            needed = _Header(file, head[3]).end()
        except (EOFError, IndexError, OverflowError) as error:
            raise InputError(f"{path}: its header is damaged: expected classic NetCDF") from error
    held = path.stat().st_size
    if held < needed:
        raise InputError(f"{path}: ends after {held} bytes: expected {needed}, as its header says")


class _Header:
    """Reads the header of an open file behind its first four bytes."""

    def __init__(self, file: IO[bytes], version: int) -> None:
        self._file = file
        self._count, self._offset = COUNT[version], OFFSET[version]

    def end(self) -> int:
        """Where the data end, in bytes."""
        records = self._number(self._count)
        streamed = records == 256**self._count - 1  # a number of records that nobody wrote down
        dimensions = [self._dimension() for _ in range(self._entries())]
        self._skip_attributes()
        fixed, running = 0, []
        for _ in range(self._entries()):
            sizes, begin = self._variable(dimensions)
            if 0 in sizes[:1]:  # along the record dimension
                running.append((prod(sizes[1:]), begin))
            else:
                fixed = max(fixed, begin + prod(sizes))
        if not running or not records or streamed:
            return fixed
        padded = [size + -size % 4 for size, _ in running]
        record = running[0][0] if len(running) == 1 else sum(padded)
        return max(fixed, *(begin + (records - 1) * record + size for size, begin in running))

    def _number(self, size: int) -> int:
        found = self._file.read(size)
        if len(found) < size:
            raise EOFError
        return int.from_bytes(found, "big")

    def _entries(self) -> int:
        """Number of entries of a list, behind its tag."""
        self._number(4)
        count = self._number(self._count)
        if count > MOST:
            raise OverflowError
        return count

    def _skip(self, size: int) -> None:
        """Skip bytes and those that fill up four."""
        self._file.seek(size + -size % 4, 1)

    def _skip_name(self) -> None:
        self._skip(self._number(self._count))

    def _dimension(self) -> int:
        self._skip_name()
        return self._number(self._count)

    def _skip_attributes(self) -> None:
        for _ in range(self._entries()):
            self._skip_name()
            size = SIZES[self._number(4)]
            self._skip(size * self._number(self._count))

    def _variable(self, dimensions: list[int]) -> tuple[list[int], int]:
        """Lengths of a variable's dimensions and of a number, and where it begins."""
        self._skip_name()
        shape = [dimensions[self._number(self._count)] for _ in range(self._number(self._count))]
        self._skip_attributes()
        size = SIZES[self._number(4)]
        self._number(self._count)  # its bytes, of which some writers make 2^32 - 1
        return [*shape, size], self._number(self._offset)
