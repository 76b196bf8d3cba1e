"""Versions of raw files: what changes an interval's, and what does not.

Zarr archives of every layout are written, appended to and changed with zarr itself.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from pipeline.errors import InputError
from pipeline.rasters.file_list import FileList, describe_files
from pipeline.rasters.series import open_series
from tests.pipeline.rasters.test_series import catalog, day, write

PERIOD = {"step": "day", "start": "2020-01-01T00:00:00Z", "end": "2020-01-25T00:00:00Z"}
DAYS = 24


@dataclass(frozen=True)
class Archive:
    """A Zarr store of rain and of wind, of which a row of files holds six days.

    Attributes:
        url: of the store.
        zarr_format, separator: of the store and its chunks' names.
        sharded: each file holds two chunks along time.
        group: that the variables are in.
        consolidated: whether it keeps consolidated metadata.
    """

    url: str
    zarr_format: Any = 3
    separator: Any = "/"
    sharded: bool = False
    group: str = ""
    consolidated: bool = False

    @property
    def root(self) -> zarr.Group:
        return zarr.open_group(self.url, mode="a", zarr_format=self.zarr_format)

    def array(self, name: str) -> Any:
        return zarr.open_array(f"{self.url}/{self.group or '.'}/{name}".replace("/./", "/"))

    def create(self) -> None:
        root = self.root
        group = root.create_group(self.group) if self.group else root
        name = "v2" if self.zarr_format == 2 else "default"
        for variable, dims, units in (
            ("rain", ("time", "lat", "lon"), "mm"),
            ("wind", ("time", "lat", "lon"), "m/s"),
            ("time", ("time",), "days since 2020-01-01"),
            ("lat", ("lat",), "degrees_north"),
            ("lon", ("lon",), "degrees_east"),
        ):
            whole = len(dims) == 3
            shape = {"time": 0, "lat": 4, "lon": 6}
            array = group.create_array(
                variable,
                shape=tuple(shape[d] for d in dims),
                chunks=((3 if self.sharded else 6), 2, 6) if whole else (512,),
                shards=(6, 4, 6) if whole and self.sharded else None,
                dtype="float32" if whole else "float64",
                chunk_key_encoding={"name": name, "separator": self.separator},
                dimension_names=None if self.zarr_format == 2 else dims,
            )
            array.attrs["units"] = units
            if self.zarr_format == 2:
                array.attrs["_ARRAY_DIMENSIONS"] = list(dims)
        self.array("lat")[:] = 42.9 - 0.1 * np.arange(4)
        self.array("lon")[:] = -95.0 + 0.1 * np.arange(6)
        self.finish()

    def append(self, days: int) -> None:
        start = self.array("rain").shape[0]
        for variable in ("rain", "wind"):
            array = self.array(variable)
            array.resize((start + days, 4, 6))
            array[start:] = [day(k + 1) for k in range(start, start + days)]
        time = self.array("time")
        time.resize((start + days,))
        time[start:] = np.arange(start, start + days)
        self.finish()

    def finish(self) -> None:
        if self.consolidated:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # not in the specification of format 3
                zarr.consolidate_metadata(self.url, zarr_format=self.zarr_format)

    def describe(self, folder: Path, by_content: bool) -> FileList:
        source = {"driver": "zarr", "files": self.url, "variable": "rain", "max_missing_steps": 24}
        group = {"group": self.group} if self.group else {}
        opened = open_series(catalog(folder, PERIOD, **source, **group), ["precipitation"])
        return describe_files(opened, by_content)


LAYOUTS: dict[str, dict[str, Any]] = {
    "2": {"zarr_format": 2, "separator": "."},
    "2-slash-consolidated": {"zarr_format": 2, "separator": "/", "consolidated": True},
    "3": {},
    "3-dot-group": {"separator": ".", "group": "in/side"},
    "3-sharded-consolidated": {"sharded": True, "consolidated": True},
}


def changed(before: FileList, after: FileList) -> list[int]:
    """Intervals whose lines differ."""
    return [k for k in range(DAYS) if before.lines[k] != after.lines[k]]


def follow(archive: Archive, folder: Path, by_content: bool) -> None:
    """Change an archive step by step, and compare which intervals notice it."""
    archive.create()
    archive.append(6)
    last = archive.describe(folder, by_content)
    assert [k for k, line in enumerate(last.lines) if line] == list(range(6))
    assert last.count == 1

    def expect(*intervals: int) -> None:
        nonlocal last
        now = archive.describe(folder, by_content)
        assert changed(last, now) == list(intervals)
        last = now

    expect()
    archive.append(6)  # a new chunk
    expect(*range(6, 12))
    archive.append(2)  # part of a chunk
    expect(12, 13)
    archive.append(1)  # more of it
    expect(12, 13, 14)
    archive.array("rain")[7] = 0.5
    expect(*range(6, 12))
    archive.array("wind")[7] = 0.5
    expect()
    archive.array("lat")[:] = archive.array("lat")[:]  # as whoever appends may do
    expect()
    archive.array("lat")[:] = archive.array("lat")[:] + 0.05
    expect(*range(15))
    archive.array("rain").attrs["scale_factor"] = 0.1
    if archive.consolidated:
        expect()  # values are still read by the consolidated metadata
    archive.finish()
    expect(*range(15))
    archive.array("rain")[0:6] = np.nan
    expect(*range(6))


@pytest.mark.parametrize(
    ("layout", "by_content"), [*((layout, True) for layout in LAYOUTS), ("3", False)]
)
def test_a_zarr_archive_that_grows(tmp_path: Path, layout: str, by_content: bool):
    follow(Archive(str(tmp_path / "rain.zarr"), **LAYOUTS[layout]), tmp_path, by_content)


def test_sizes_are_those_of_the_chunks(tmp_path: Path):
    archive = Archive(str(tmp_path / "rain.zarr"))
    archive.create()
    archive.append(15)
    sizes = archive.describe(tmp_path, True).sizes
    chunks = tmp_path / "rain.zarr" / "rain" / "c"
    files = [
        sum(path.stat().st_size for path in (chunks / row).rglob("*") if path.is_file())
        for row in "012"
    ]
    np.testing.assert_allclose(sizes[:15], np.repeat(np.divide(files, [6, 6, 3]), [6, 6, 3]))
    assert not sizes[15:].any()


def test_an_archive_that_went_away(tmp_path: Path):
    archive = Archive(str(tmp_path / "rain.zarr"))
    archive.create()
    archive.append(6)
    source = {"driver": "zarr", "files": archive.url, "variable": "rain", "max_missing_steps": 24}
    series = open_series(catalog(tmp_path, PERIOD, **source), ["precipitation"])
    (tmp_path / "rain.zarr").rename(tmp_path / "moved.zarr")
    with pytest.raises(InputError, match=r"rain\.zarr: .*expected a raster to stay in place"):
        describe_files(series, by_content=True)


def test_a_total_that_runs_on_depends_on_the_file_before(tmp_path: Path):
    for hour in range(24):
        write(tmp_path / f"total_20200101{hour:02d}.tif", day(hour))
    period = {"step": "hour", "start": "2020-01-01T00:00:00Z", "end": "2020-01-02T00:00:00Z"}
    source = {"files": "total_{time:%Y%m%d%H}.tif", "totals": "12h"}
    series = open_series(catalog(tmp_path, period, **source), ["precipitation"])
    before = describe_files(series, by_content=True)
    for hour, intervals in ((5, [5, 6]), (11, [11]), (12, [12, 13]), (23, [23])):
        write(tmp_path / f"total_20200101{hour:02d}.tif", day(hour) + 0.5)
        after = describe_files(series, by_content=True)
        assert changed(before, after) == intervals
        before = after
