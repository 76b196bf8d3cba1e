"""Fingerprints of raw files: equal for equal contents, different after a change."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

import pytest

from pipeline.errors import InputError
from pipeline.rasters.fingerprints import take_fingerprints


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / name for name in ("a.tif", "b.tif")]
    for path in paths:
        path.write_bytes(path.name.encode())
    return paths


def test_of_files(files: list[Path]):
    by_content = take_fingerprints(files, folders=False, by_content=True)
    assert by_content == {f: (5, hashlib.sha256(f.name.encode()).hexdigest()) for f in files}
    by_time = take_fingerprints(files, folders=False, by_content=False)
    os.utime(files[0], (1, 1))
    assert take_fingerprints(files, folders=False, by_content=True) == by_content
    later = take_fingerprints(files, folders=False, by_content=False)
    assert (later[files[0]] != by_time[files[0]], later[files[1]]) == (True, by_time[files[1]])


def test_of_a_folder_whatever_its_name(files: list[Path], tmp_path: Path):
    """As a Zarr store is."""
    moved = tmp_path.with_name(f"{tmp_path.name}-moved")
    shutil.copytree(tmp_path, moved)
    (one,) = take_fingerprints([tmp_path], folders=True, by_content=True).values()
    (two,) = take_fingerprints([moved], folders=True, by_content=True).values()
    assert one == two
    assert one[0] == 10
    (moved / "b.tif").write_bytes(b"B.tif")
    assert take_fingerprints([moved], folders=True, by_content=True)[moved] != one


@pytest.mark.parametrize("content", [True, False])
def test_a_file_that_went_away(files: list[Path], content: bool):
    files[1].unlink()
    with pytest.raises(InputError, match=r"b\.tif: .*expected a raster to stay in place"):
        take_fingerprints(files, folders=False, by_content=content)
