"""Write what is exported: a new file that appears whole or not at all, filled part by part."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from pyarrow.csv import CSVWriter
from pyarrow.parquet import ParquetWriter

from pipeline.errors import InputError, RunError
from pipeline.gauges.flags import FLAGS
from pipeline.storage import parse_location

if TYPE_CHECKING:
    import netCDF4
    import xarray as xr

NETCDF, PARQUET, CSV = SUFFIXES = (".nc", ".parquet", ".csv")
COMPRESSED = {"zlib": True, "complevel": 1}
MEANINGS = sorted(FLAGS, key=lambda name: FLAGS[name])
assert [FLAGS[name] for name in MEANINGS] == list(range(len(FLAGS)))  # a code is a position


@contextmanager
def new_file(out: str | os.PathLike[str], force: bool) -> Iterator[Path]:
    """Yield the path to write a file at, which is renamed to `out` when all went well.

    The path lies in a folder of its own beside `out`, with room for other temporary files, and
    has its suffix in lower case.

    Raises:
        InputError: `out` is no local path of a known suffix in a folder, or it exists and not
            `force`.
        RunError: the file is not written.
    """
    path = parse_location(out)
    if not isinstance(path, Path):
        raise InputError(f"{path}: expected a local path, because files are written in parts")
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise InputError(f"{path}: expected a name that ends in {', '.join(SUFFIXES)}")
    if not path.parent.is_dir():
        raise InputError(f"{path}: the folder {path.parent} is missing: expected an existing one")
    if path.is_dir():
        raise InputError(f"{path}: is a folder: expected the name of a file")
    if os.path.lexists(path) and not force:
        raise InputError(f"{path}: exists: expected another name, or --force to replace it")
    with TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
        partial = Path(folder) / f"whole{suffix}"
        try:
            yield partial
            os.replace(partial, path)
        except (InputError, RunError):
            raise
        except (OSError, RuntimeError) as error:  # netCDF4 raises the latter if a disk is full
            raise RunError(f"{path}: not written ({error}): expected room to write it") from error


# --- NetCDF ------------------------------------------------------------------------------------


@contextmanager
def new_netcdf(
    path: Path, data: xr.Dataset, chunks: Mapping[str, int]
) -> Iterator[netCDF4.Dataset]:
    """Create a NetCDF file of a dataset, and open it for its data along time to be filled in.

    Args:
        path: of the file.
        data: with attributes and encoding; data variables along time need no values.
        chunks: length of a chunk along dimensions, time among them; others are whole.
    """
    import netCDF4

    header = data.isel(time=slice(0)).copy()
    for name, variable in header.variables.items():
        if variable.ndim and variable.dtype.kind in "fiu" and name not in header.dims:
            lengths = [chunks.get(str(dim), length) for dim, length in variable.sizes.items()]
            variable.encoding |= {**COMPRESSED, "chunksizes": lengths}
    header.to_netcdf(path, engine="netcdf4", unlimited_dims=["time"])
    with netCDF4.Dataset(path, "r+") as file:
        file.set_auto_maskandscale(False)
        fill(file, slice(None), data.coords.to_dataset())
        yield file


def fill(file: netCDF4.Dataset, steps: slice, data: xr.Dataset) -> None:
    """Write the arrays along time of some steps; the time is their first dimension."""
    for name, variable in data.variables.items():
        if "time" in variable.dims:
            values = variable.values
            if values.dtype.kind == "M":  # as the store encodes them, see `cf.EPOCH`
                values = values.astype("datetime64[s]").astype(np.int64)
            file[str(name)][steps] = values


# --- tables ------------------------------------------------------------------------------------


class TableFile:
    """A Parquet or CSV file, to which rows are appended; each part is a row group of Parquet."""

    def __init__(self, path: Path, about: xr.Dataset) -> None:
        """Prepare a file.

        Args:
            path: of the file; the suffix tells the format.
            about: dataset whose attributes, and whose variables' units and long names, go into
                the metadata of Parquet.
        """
        self._path, self._about = path, about
        self._writer: Any = None
        self._schema = pa.schema([])

    def __enter__(self) -> TableFile:
        return self

    def __exit__(self, *_: object) -> None:
        if self._writer is not None:
            self._writer.close()

    def append(self, columns: Mapping[str, Any]) -> None:
        """Append rows.

        Args:
            columns: arrays of equal length by name; NaN becomes null, `time` is datetime64 in UTC,
                `flag` are codes.
        """
        arrays = [_column(name, values) for name, values in columns.items()]
        if self._writer is None:
            fields = zip(columns, arrays, strict=True)
            schema = pa.schema([self._field(name, one.type) for name, one in fields])
            about = {key: str(value) for key, value in self._about.attrs.items()}
            self._schema = schema.with_metadata(about)
            writer = CSVWriter if self._path.suffix == CSV else ParquetWriter
            self._writer = writer(self._path, self._schema)
        self._writer.write_table(pa.Table.from_arrays(arrays, schema=self._schema))

    def _field(self, name: str, kind: pa.DataType) -> pa.Field:
        attributes = self._about[name].attrs if name in self._about else {}
        known = {k: attributes[k] for k in ("units", "long_name") if k in attributes}
        return pa.field(name, kind, metadata=known if name != "time" else None)


def _column(name: str, values: Any) -> pa.Array:
    """Column of a table."""
    if isinstance(values, pa.Array):
        return values
    if name == "flag":
        return repeated_text(MEANINGS, values)
    if values.dtype.kind == "M":
        return pa.array(values.astype("datetime64[s]"), pa.timestamp("s", "UTC"))
    return pa.array(values, from_pandas=True)


def repeated_text(words: list[str], positions: np.ndarray) -> pa.Array:
    """Column of text with few different values: a word a row, by its position in `words`."""
    codes = pa.array(positions.astype(np.int32))
    return pa.DictionaryArray.from_arrays(codes, pa.array(words)).cast(pa.string())


def parts(count: int, size: int) -> list[slice]:
    """Divide positions into parts of some size; the last one may be smaller."""
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]
