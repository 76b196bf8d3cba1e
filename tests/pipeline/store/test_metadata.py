"""The root's copy of all metadata: as Zarr makes it, and never stale."""

from __future__ import annotations

import os
import shutil
import warnings
from pathlib import Path

import xarray as xr
import zarr

from pipeline.check.checks import check_store
from pipeline.store.root import attributes_of, open_root
from tests.pipeline.handmade import World


def root_by_zarr(store: Path, folder: Path) -> bytes:
    """The root's metadata after `zarr.consolidate_metadata` on a copy of a store."""
    copy = folder / "consolidated.zarr"
    shutil.copytree(store, copy)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of zarr: format 3 does not standardise them
        zarr.consolidate_metadata(copy)
    root = (copy / "zarr.json").read_bytes()
    shutil.rmtree(copy)
    return root


def static(world: World) -> str:
    return next(check.status for check in check_store(world.store) if check.name == "static")


def test_they_are_as_zarr_consolidates_them(tiny_store: Path, tmp_path: Path) -> None:
    assert (tiny_store / "zarr.json").read_bytes() == root_by_zarr(tiny_store, tmp_path)


def test_they_stay_true_when_changed_rasters_are_done_again(stored: World) -> None:
    before = attributes_of(open_root(stored.store))["provenance"]["forcings"]
    os.utime(stored.raster(1))
    assert stored.run().exit_code == 0
    assert attributes_of(open_root(stored.store))["provenance"]["forcings"] != before
    root = (stored.store / "zarr.json").read_bytes()
    assert root == root_by_zarr(stored.store, stored.folder)
    assert static(stored) == "PASS"


def test_they_stay_true_when_the_period_is_extended(world: World) -> None:
    whole = "2020-01-13T00:00:00"
    for end in ("2020-01-09T00:00:00", whole):
        world.edit(period={"step": "day", "start": "2020-01-01T00:00:00", "end": end})
        assert world.run().exit_code == 0
        root = (world.store / "zarr.json").read_bytes()
        assert root == root_by_zarr(world.store, world.folder)
    assert xr.open_datatree(world.store)["region"].sizes["time"] == 12
    assert static(world) == "PASS"


def test_a_copy_that_is_not_true_fails_the_check(stored: World) -> None:
    path = stored.store / "zarr.json"
    path.write_text(path.read_text().replace("degrees_north", "degrees_south"))
    assert static(stored) == "FAIL"
