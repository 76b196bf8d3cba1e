"""Rows of discharge records as columns of text.

A column holds each of its texts once, so that one of millions of rows is parsed as often as it has
distinct days, values and qualifiers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.catalog.models import Catalog

T = TypeVar("T")
BATCH = 2**16  # rows at a time: more distinct texts would leave the CPU cache


class Row(NamedTuple):
    """One value of a record as text.

    `series` names the sensor or method, for sites with several; its first word is the identifier.
    `qualifiers` are separated by blanks, commas or colons. `place` is the position in the file, for
    messages: "line 12".
    """

    site_no: str
    series: str
    time: str
    value: str
    qualifiers: str
    place: str


@dataclass(frozen=True, eq=False)
class Texts:
    """A column of text without blanks at the ends.

    Attributes:
        codes: of each row, the position of its text in `distinct`, int32 (n,).
        distinct: the texts, each a few times at most; some may be of no row.
    """

    codes: NDArray[np.int32]
    distinct: pa.LargeStringArray

    @classmethod
    def of(cls, chunks: Iterable[pa.Array | pa.ChunkedArray]) -> Texts:
        """A column of the texts of some arrays, one after the other."""
        codes, distinct, found = [np.empty(0, np.int32)], [pa.array([], pa.large_string())], 0
        for encoded in _encoded(chunks):
            codes.append(np.asarray(encoded.indices) + np.int32(found))
            distinct.append(encoded.dictionary)
            found += len(encoded.dictionary)
        return cls(np.concatenate(codes), pc.utf8_trim_whitespace(pa.concat_arrays(distinct)))

    @classmethod
    def repeat(cls, text: str, size: int) -> Texts:
        """A column of one text."""
        return cls(np.zeros(size, np.int32), pa.array([text], pa.large_string()))

    def merged(self) -> Texts:
        """The same column with each text once, where sites have many texts in common."""
        encoded = self.distinct.dictionary_encode()
        return Texts(np.asarray(encoded.indices)[self.codes], encoded.dictionary)

    def __getitem__(self, row: int) -> str:
        text: str = self.distinct[self.codes[row]].as_py()
        return text

    def each(self, parse: Callable[[str], T]) -> list[T]:
        """Parse each distinct text."""
        return [parse(text) for text in self.distinct.to_pylist()]


@dataclass(frozen=True, eq=False)
class Rows:
    """Values of one or more sites as text, n rows in the file's order.

    Attributes:
        site_no, series, time, value, qualifiers: as of `Row`; the site number may lack zeros.
        place: gives the place of a row in the file.
    """

    site_no: Texts
    series: Texts
    time: Texts
    value: Texts
    qualifiers: Texts
    place: Callable[[int], str]

    @classmethod
    def of(
        cls,
        columns: Iterable[Iterable[pa.Array | pa.ChunkedArray]],
        place: Callable[[int], str],
    ) -> Rows:
        """Rows of five columns, each as arrays one after the other."""
        site_no, series, time, value, qualifiers = map(Texts.of, columns)
        return cls(site_no, series, time, value, qualifiers, place)


def gather(read: Callable[[Catalog, Path], Iterator[Row]], catalog: Catalog, path: Path) -> Rows:
    """Gather the rows of a file to columns.

    Args:
        read: begins to read; called again to find the place of a row for a message.
        catalog, path: its arguments.
    """
    rows = read(catalog, path)
    columns: list[list[pa.Array]] = [[] for _ in Row._fields[:-1]]
    while batch := list(islice(rows, BATCH)):
        for column, texts in zip(columns, zip(*batch, strict=True), strict=False):
            column.append(pa.array(texts, pa.large_string()))

    def place(row: int) -> str:
        return next(islice(read(catalog, path), int(row), None)).place

    return Rows.of(columns, place)


def _encoded(chunks: Iterable[pa.Array | pa.ChunkedArray]) -> Iterator[pa.DictionaryArray]:
    """Encode arrays by their distinct texts, many short ones together."""
    short: list[pa.Array] = []
    held = 0  # texts in `short`
    for piece in (p for chunk in chunks for p in getattr(chunk, "chunks", [chunk])):
        done = pa.types.is_dictionary(piece.type)
        if short and (done or held + len(piece) > BATCH):
            yield pa.concat_arrays(short).dictionary_encode()
            short, held = [], 0
        if done:
            yield piece
            continue
        *whole, rest = (piece.slice(start, BATCH) for start in range(0, len(piece) or 1, BATCH))
        yield from (part.dictionary_encode() for part in whole)
        short.append(rest)
        held += len(rest)
    if short:
        yield pa.concat_arrays(short).dictionary_encode()
