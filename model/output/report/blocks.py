"""Blocks of numbers inside the page: compact, and unpacked by the browser when they are needed.

A block is deflated and then written as base64. Inside are four bytes with the length of a header
(JSON), the header, and the arrays that it names as float32. Of an array, all first bytes come
first, then all second ones, and so on, and mantissas are rounded to 12 bits or fewer: both make
rivers compress to about half.
"""

from __future__ import annotations

import base64
import json
import struct
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from pipeline.json_text import as_json

DROPPED_BITS = 11  # of the 23 of a float32's mantissa; the rounding is at most 0.013 %


def pack(
    fields: Mapping[str, Any], arrays: Mapping[str, np.ndarray], dropped_bits: int = DROPPED_BITS
) -> str:
    """Pack named values and arrays as text.

    Args:
        fields: what JSON can hold; NaN becomes null.
        arrays: one-dimensional, of numbers.
        dropped_bits: of the 23 of a number's mantissa.
    """
    header = as_json({**fields, "arrays": [[name, len(a)] for name, a in arrays.items()]}).encode()
    parts = [struct.pack("<I", len(header)), header]
    rounded = (round_mantissa(values, dropped_bits) for values in arrays.values())
    parts += [one.view(np.uint8).reshape(-1, 4).T.tobytes() for one in rounded]
    return base64.b64encode(zlib.compress(b"".join(parts), 9)).decode()


def unpack(block: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return fields and arrays of a block, as the browser reads them."""
    content = zlib.decompress(base64.b64decode(block))
    (size,) = struct.unpack_from("<I", content)
    fields, at = json.loads(content[4 : 4 + size]), 4 + size
    arrays = {}
    for name, length in fields.pop("arrays"):
        planes = np.frombuffer(content, np.uint8, 4 * length, at).reshape(4, length)
        arrays[name] = np.ascontiguousarray(planes.T).view("<f4").ravel()
        at += 4 * length
    return fields, arrays


def round_mantissa(values: np.ndarray, dropped_bits: int) -> np.ndarray:
    """Round numbers to float32 without the last bits of the mantissa, little-endian."""
    bits = np.ascontiguousarray(values, "<f4").view("<u4")
    half = np.uint32(1 << (dropped_bits - 1))
    mask = np.uint32(0xFFFFFFFF << dropped_bits & 0xFFFFFFFF)
    return np.asarray(((bits + half) & mask).view("<f4"))
