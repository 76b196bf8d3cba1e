"""Name files that no reader takes by their first bytes, and say how to convert them."""

from __future__ import annotations

from pathlib import Path

from pipeline.rasters.drivers.radar import kind_of
from pipeline.rasters.drivers.radar_composite import head_of

NIMROD = b"\x00\x00\x02\x00"  # a Fortran record of 512 bytes
PP = b"\x00\x00\x01\x00"  # one of 256 bytes
TAR_AT = 257  # where a tar archive says what it is
READ = 600  # bytes
IRIS = 'expected NetCDF, such as by iris.save(iris.load(FILE), "out.nc")'
HINTS = (  # first bytes, and what to do about such a file
    (b"PK\x03\x04", "a zip file: expected driver: gdal and inside, or it unpacked (unzip FILE)"),
    (b"BUFR", "BUFR: expected GRIB or NetCDF, such as by ecCodes"),
    (b"\x0e\x03\x13\x01", "HDF4: expected NetCDF or HDF5, such as by h4toh5"),
    (b"7z\xbc\xaf", "a 7z archive: expected it unpacked (7z x FILE)"),
    (b"\x1f\x8b", "packed with gzip: expected it unpacked (gunzip FILE)"),
    (b"BZh", "packed with bzip2: expected it unpacked (bunzip2 FILE)"),
    (b"\xfd7zXZ", "packed with xz: expected it unpacked (unxz FILE)"),
    (b"(\xb5/\xfd", "packed with zstd: expected it unpacked (unzstd FILE)"),
)


def conversion_of(path: Path) -> str | None:
    """What a file is and how to convert it, such as "NIMROD: expected NetCDF ..."; None if unknown.

    A file that is gone, or not readable, is unknown too.
    """
    try:
        kind, inside = kind_of(path), head_of(path, READ)
        with path.open("rb") as file:
            start = file.read(READ)
    except OSError:
        return None
    if kind is not None:
        return f"{kind}: expected driver: radar"
    if inside[TAR_AT : TAR_AT + 5] == b"ustar":
        return "a tar archive: expected it unpacked (tar -xf FILE)"
    if start.startswith(NIMROD) and _is_year(start[4:6]):
        return f"Met Office NIMROD: {IRIS}"
    if start.startswith(PP) and start[260:264] == PP:
        return f"Met Office PP: {IRIS}"
    return next((hint for signature, hint in HINTS if start.startswith(signature)), None)


def _is_year(octets: bytes) -> bool:
    return 1900 <= int.from_bytes(octets, "big") <= 2100
