"""Whether uncompressed files are as long as their header says, and of the type that it says.

GDAL reads zeros beyond the end of a truncated one, and takes a BIL's word for either of the two
keys that give its type.
"""

from __future__ import annotations

import re

import numpy as np
from rasterio.io import DatasetReader

from pipeline.catalog.raster_source import RasterSource
from pipeline.errors import InputError
from pipeline.rasters.drivers.gdal_open import part_size, read_part
from pipeline.storage import Location

HEADERS = {  # bytes before the pixels, by GDAL's driver
    "EHdr": 0, "ENVI": 0, "ERS": 0, "GTX": 40, "GenBin": 0, "ISCE": 0, "ISIS3": 0, "MFF": 0,
    "PAux": 0, "PCRaster": 256, "ROI_PAC": 0, "VICAR": 0,
}  # fmt: skip
BESIDE = (".aux", ".ers", ".hdr", ".prj", ".rsc", ".stx", ".xml")  # files without pixels
KINDS = {"FLOAT": "f", "SIGNEDINT": "i", "UNSIGNEDINT": "u"}  # NumPy's, by PIXELTYPE
PAIR = re.compile(rb"^[ \t]*(\w+)[ \t]+(\S+)", re.MULTILINE)


def require_whole(path: Location, file: DatasetReader, source: RasterSource) -> None:
    """Raise if an opened raster of pixels one after another is shorter than its header says.

    Raises:
        InputError: it is, or the header of a BIL contradicts itself.
    """
    if file.driver not in HEADERS:
        return
    skipped, bits = HEADERS[file.driver], 8 * np.dtype(file.dtypes[0]).itemsize
    if file.driver == "EHdr":
        header = next((name for name in file.files if name.lower().endswith(".hdr")), None)
        about = {} if header is None else _pairs(read_part(path, source, header))
        _require_type(path, file, about)
        skipped, bits = int(about.get("SKIPBYTES", 0)), int(about.get("NBITS", bits))
    needed = skipped + file.height * -(-file.width * bits // 8) * file.count
    pixels = [name for name in file.files if not name.lower().endswith(BESIDE)]
    held = max((part_size(path, source, name) for name in pixels), default=0)
    if held < needed:
        raise InputError(
            f"{path}: holds {held} bytes: expected {needed} for {file.height} rows, {file.width} "
            f"columns and {file.count} bands of {bits} bits"
        )


def _pairs(text: bytes) -> dict[str, str]:
    """Keys and values of a BIL's header."""
    return {key.decode().upper(): value.decode("latin-1") for key, value in PAIR.findall(text)}


def _require_type(path: Location, file: DatasetReader, about: dict[str, str]) -> None:
    """Raise if GDAL reads other numbers than both keys of the header say.

    Raises:
        InputError: it does.
    """
    said = {key: about[key] for key in ("NBITS", "PIXELTYPE") if key in about}
    dtype = np.dtype(file.dtypes[0])
    kind = KINDS.get(said.get("PIXELTYPE", "").upper(), "" if "PIXELTYPE" in said else dtype.kind)
    bits = said.get("NBITS", f"{8 * dtype.itemsize}")
    packed = dtype.kind == "u" and bits in ("1", "2", "4")
    if dtype.kind != kind or not (bits == f"{8 * dtype.itemsize}" or packed):
        keys = " and ".join(f"{key} {value[:20]!r}" for key, value in said.items())
        raise InputError(
            f"{path}: {keys} in its header, read as {dtype}: expected keys of one type, such as "
            "NBITS 32 and PIXELTYPE FLOAT"
        )
