"""Encode arrays of a store in memory: content of files by path, to be written by `store.write`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import zarr
from zarr.codecs import ZstdCodec
from zarr.storage import MemoryStore

from pipeline.store.metadata import METADATA

COMPRESSOR = ZstdCodec(level=1, checksum=True)  # Blosc decodes a damaged chunk without an error


class MemoryFolder:
    """Groups and arrays of a store in memory.

    Args:
        files: content by path below the store, to begin with.
    """

    def __init__(self, files: Mapping[str, bytes] | None = None) -> None:
        self._buffers: dict[str, Any] = {}
        self._store = MemoryStore(self._buffers)
        buffer = zarr.core.buffer.default_buffer_prototype().buffer
        for key, content in (files or {}).items():
            self._buffers[key] = buffer.from_bytes(content)

    def group(self, path: str, attributes: Mapping[str, Any]) -> zarr.Group:
        """Create a group."""
        return zarr.create_group(self._store, path=path, attributes=dict(attributes), zarr_format=3)

    def array(self, path: str) -> zarr.Array:
        """Open an array whose metadata are there."""
        return zarr.open_array(self._store, path=path, mode="r+", zarr_format=3)

    def files(self) -> dict[str, bytes]:
        """Content of all files below the root, by path."""
        return {key: one.to_bytes() for key, one in self._buffers.items() if key != METADATA}

    def chunks(self) -> dict[str, bytes]:
        """Content of the files that hold values, by path."""
        return {
            key: content
            for key, content in self.files().items()
            if not key.endswith(f"/{METADATA}")
        }


def create_empty(
    group: zarr.Group,
    name: str,
    shape: Sequence[int],
    dtype: str,
    dimensions: Sequence[str],
    attributes: Mapping[str, Any],
    chunks: Sequence[int],
    shards: Sequence[int] | None = None,
) -> zarr.Array:
    """Create an array without values; floats are missing as NaN, whole numbers as 0.

    Args:
        group: in which it lies.
        name, shape, dtype, dimensions, attributes: of the array.
        chunks: shape of what is compressed together.
        shards: shape of what is one file, whole chunks; by default one chunk.
    """
    return group.create_array(
        name,
        shape=tuple(shape),
        chunks=tuple(chunks),
        shards=None if shards is None else tuple(shards),
        dtype=dtype,
        compressors=COMPRESSOR,
        fill_value=np.nan if np.dtype(dtype).kind == "f" else 0,
        dimension_names=tuple(dimensions),
        attributes=dict(attributes),
    )


def create_array(
    group: zarr.Group,
    name: str,
    data: np.ndarray,
    dimensions: Sequence[str],
    attributes: Mapping[str, Any],
) -> None:
    """Create an array with its values, in one chunk."""
    array = create_empty(
        group, name, data.shape, data.dtype.name, dimensions, attributes,
        tuple(max(1, length) for length in data.shape),
    )  # fmt: skip
    array[...] = data


def create_text(
    group: zarr.Group,
    name: str,
    values: Sequence[str] | None,
    count: int,
    attributes: Mapping[str, Any],
    chunk: int,
) -> zarr.Array:
    """Create an array (site) of text, in chunks of some sites; without values if None."""
    array = group.create_array(
        name,
        shape=(count,),
        chunks=(chunk,),
        dtype="string",
        dimension_names=("site",),
        attributes=dict(attributes),
    )
    if values is not None:
        array[...] = np.array(values, dtype=np.dtypes.StringDType())
    return array
