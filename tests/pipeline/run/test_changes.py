"""A changed catalog: what a run says, asks and does, and that it is the store of one go."""

from __future__ import annotations

import importlib.metadata
import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from distributed import Client

from pipeline.catalog.models import load_catalog
from pipeline.errors import InputError
from pipeline.run.cluster import make_client
from pipeline.run.execute import RunReport, run
from pipeline.store.read import list_sites, open_gauges, open_region, open_store, open_watershed
from pipeline.store.root import attributes_of, open_root
from pipeline.store.spec import ALGORITHM
from tests.pipeline.handmade import BOXES, World, write_polygons, write_raster
from tests.pipeline.stores import contents, set_attributes, unmark

ADDED = {"01000003": (-92.9, 42.1, -92.75, 42.3)}  # within the region of the others
SITES = {**BOXES, **ADDED}


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with make_client(workers=2) as threads:
        yield threads


def write_records(world: World, sites: list[str], seed: int = 1) -> None:
    """Discharge records of some sites."""
    rng = np.random.default_rng(seed)
    lines = ["site_no,datetime,discharge,code"]
    for site in sites:
        lines += [f"{site},2020-01-{day + 1:02d},{rng.uniform(5, 15):.3f},A" for day in range(12)]
    (world.folder / "discharge.csv").write_text("\n".join(lines) + "\n")


def changed(world: World, client: Client) -> tuple[list[str], RunReport]:
    """Run a changed catalog; return what it said and did."""
    said: list[str] = []

    def confirm(lines: Sequence[str]) -> bool:
        said.extend(lines)
        return True

    return said, run(load_catalog(world.catalog), world.store, client, confirm=confirm)


def require_as_in_one_go(world: World, client: Client) -> None:
    """Every file is that of a new store; but for the region's grid, if it is larger here."""
    fresh = world.folder / "fresh.zarr"
    run(load_catalog(world.catalog), fresh, client)
    assert contents(world.store) == contents(fresh)


@pytest.fixture
def three(world: World, client: Client) -> World:
    """A store of three watersheds."""
    write_polygons(world.folder / "basins.geojson", SITES)
    write_records(world, list(SITES))
    run(load_catalog(world.catalog), world.store, client)
    return world


def test_a_watershed_is_added_without_regridding(stored: World, client: Client):
    write_polygons(stored.folder / "basins.geojson", SITES)
    write_records(stored, list(SITES))
    with pytest.raises(InputError, match=r"1 watersheds added: 01000003.*expected --yes"):
        run(load_catalog(stored.catalog), stored.store, client)
    assert list_sites(stored.store) == list(BOXES), "nothing was done"
    said, report = changed(stored, client)
    assert "1 watersheds added: 01000003" in said
    assert report.blocks == []
    assert report.tables
    assert list_sites(stored.store) == sorted(SITES)
    require_as_in_one_go(stored, client)


def test_a_watershed_is_dropped_and_its_files_with_it(three: World, client: Client):
    write_polygons(three.folder / "basins.geojson", BOXES)
    said, report = changed(three, client)
    assert "1 watersheds dropped: 01000003" in said
    assert report.blocks == []
    require_as_in_one_go(three, client)


def test_the_store_keeps_its_region_when_a_watershed_at_the_edge_is_dropped(
    stored: World, client: Client
):
    before = open_region(stored.store).load()
    write_polygons(stored.folder / "basins.geojson", {"01000002": BOXES["01000002"]})
    _, report = changed(stored, client)
    assert report.blocks == []
    assert open_region(stored.store).identical(before)
    assert list_sites(stored.store) == ["01000002"]


def test_a_watershed_outside_the_region_is_refused(stored: World, client: Client):
    write_polygons(
        stored.folder / "basins.geojson", {**BOXES, "01000003": (-92.6, 42, -92.5, 42.1)}
    )
    write_records(stored, list(SITES))
    with pytest.raises(InputError, match="holds the region"):
        changed(stored, client)


def test_a_replaced_polygon(three: World, client: Client):
    other = (-92.9, 42.15, -92.75, 42.3)
    write_polygons(three.folder / "basins.geojson", {**SITES, "01000003": other})
    said, report = changed(three, client)
    assert "1 watersheds of another polygon: 01000003" in said
    assert report.blocks == []
    require_as_in_one_go(three, client)


def test_a_revised_record(stored: World, client: Client):
    write_records(stored, list(BOXES), seed=2)
    said, report = changed(stored, client)
    assert said == ["files of gauges have changed: the records of all gauges are read again"]
    assert report.blocks == []
    require_as_in_one_go(stored, client)


def test_a_revised_record_that_is_wrong_leaves_no_old_tables_to_read(stored: World, client: Client):
    record = stored.folder / "discharge.csv"
    record.write_text(record.read_text().replace("2020-01-11,", "2020-01-11,a lot of ", 1))
    with pytest.raises(InputError, match=r"discharge\.csv"):
        changed(stored, client)
    with pytest.raises(InputError, match="not written yet"):
        open_watershed(stored.store, "01000001")
    assert open_region(stored.store, partial=True).sizes["time"] == 12


def temperature(world: World, offset: float = 0.0) -> dict[str, object]:
    """Description of a second forcing, whose rasters are written."""
    (world.folder / "warm").mkdir(exist_ok=True)
    for day in range(12):
        warm = np.full(world.rain.shape[1:], day + offset, np.float32)
        write_raster(world.folder / "warm" / f"warm_202001{day + 1:02d}.tif", warm)
    return {"driver": "geotiff", "files": "warm/warm_{time:%Y%m%d}.tif", "units": "degC"}


def rain_of(world: World) -> dict[str, object]:
    source = load_catalog(world.catalog).forcings["precipitation"]
    return source.model_dump(mode="json", exclude_unset=True)


def test_a_forcing_is_added_dropped_and_described_otherwise(stored: World, client: Client):
    rain = {"precipitation": rain_of(stored)}
    first, warm = contents(stored.store), temperature(stored)
    stored.edit(forcings={**rain, "temperature": warm})
    said, report = changed(stored, client)
    assert said == ["forcings.temperature is new: all its blocks are done"]
    assert len(report.blocks) == 4
    assert all(set(block.invalid_pixels) == {"temperature"} for block in report.blocks)
    assert float(open_watershed(stored.store, "01000001").temperature[7].mean()) == 7.0
    require_as_in_one_go(stored, client)

    stored.edit(forcings={**rain, "temperature": {**warm, "missing": [5.0]}})
    said, report = changed(stored, client)
    assert any("forcings.temperature.missing: [] becomes [5.0]" in line for line in said)
    assert all(set(block.invalid_pixels) == {"temperature"} for block in report.blocks)
    assert bool(open_region(stored.store).temperature[5].isnull().all())

    stored.edit(forcings=rain)
    said, report = changed(stored, client)
    assert said == ["forcings.temperature is no longer there: its values are removed"]
    assert report.blocks == []
    after = contents(stored.store)
    assert after.keys() == first.keys()
    assert all(after[key] == first[key] for key in first if key != "zarr.json")


def test_another_limit_needs_no_confirmation_and_changes_nothing(stored: World, client: Client):
    stored.edit(forcings={"precipitation": {**rain_of(stored), "max_invalid": 0.9}})
    report = run(load_catalog(stored.catalog), stored.store, client)
    assert report.blocks == []
    assert not report.tables


def test_what_is_not_finished_may_be_mended_without_confirmation(world: World, client: Client):
    """A record in wrong units ends the run; with other units it goes on."""
    record = world.folder / "discharge.csv"
    good = record.read_text()
    record.write_text(good.replace("2020-01-11,", "2020-01-11,a lot of ", 1))
    with pytest.raises(InputError, match=r"discharge\.csv"):
        run(load_catalog(world.catalog), world.store, client)
    record.write_text(good)
    run(load_catalog(world.catalog), world.store, client)
    require_as_in_one_go(world, client)


def test_the_command_says_it_and_asks(stored: World):
    write_records(stored, list(BOXES), seed=2)
    planned = stored.command("plan", stored.catalog, "--store", stored.store)
    assert "changes    files of gauges have changed" in planned.stdout
    assert "tables of watersheds and gauges" in planned.stdout
    refused = stored.run()
    assert refused.exit_code == 2
    assert "change: files of gauges have changed" in refused.stdout
    assert "expected --yes" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
    done = stored.command("run", stored.catalog, "--store", stored.store, "--yes")
    assert done.exit_code == 0, done.output
    assert "tables written" in done.stdout


def test_another_algorithm_does_everything_again(
    stored: World, client: Client, monkeypatch: pytest.MonkeyPatch
):
    from pipeline.run import plan
    from pipeline.store import provenance

    for module in (plan, provenance):
        monkeypatch.setattr(module, "ALGORITHM", 1000)
    report = run(load_catalog(stored.catalog), stored.store, client)
    assert len(report.blocks) == 4
    assert report.tables


@pytest.mark.parametrize(
    ("now", "says"),
    [("2.4.9", None), ("2.5.0", "begun with numpy 2.4.1, and this is 2.5.0")],
)
def test_versions_count_while_there_is_something_to_do(
    stored: World, client: Client, monkeypatch: pytest.MonkeyPatch, caplog, now: str,
    says: str | None,
):  # fmt: skip
    """A patch release is logged; a minor one has to be confirmed."""
    from pipeline.store import provenance

    real = importlib.metadata.version
    known: dict[str, Any] = attributes_of(open_root(stored.store))["provenance"]
    assert known["versions"]["dom-st"] == real("dom-st")
    assert known["algorithm"] == ALGORITHM
    known["versions"]["numpy"] = "2.4.1"
    set_attributes(stored.store, provenance=known)
    monkeypatch.setattr(
        provenance, "version", lambda package: now if package == "numpy" else real(package)
    )
    assert run(load_catalog(stored.catalog), stored.store, client).blocks == []
    set_attributes(stored.store, provenance=known)
    unmark(stored.store, 1)
    if says:
        with pytest.raises(InputError, match=says):
            run(load_catalog(stored.catalog), stored.store, client)
    else:
        assert len(run(load_catalog(stored.catalog), stored.store, client).blocks) == 1
        assert "begun with numpy 2.4.1" in caplog.text


def test_finished_blocks_of_a_growing_store_may_be_read(stored: World, client: Client):
    whole = open_watershed(stored.store, "01000001").load()
    region, gauges = open_region(stored.store).load(), open_gauges(stored.store).load()
    unmark(stored.store, 2)
    first = slice(0, 6)  # two blocks of three steps
    for found, expected in (
        (open_watershed(stored.store, "01000001", partial=True), whole),
        (open_region(stored.store, partial=True), region),
        (open_gauges(stored.store, partial=True), gauges),
    ):
        assert found.load().identical(expected.isel(time=first))
    assert open_store(stored.store, partial=True)["region"].sizes["time"] == 6
    unmark(stored.store, 0)
    with pytest.raises(InputError, match="its first block is not done"):
        open_region(stored.store, partial=True)
    set_attributes(stored.store, tables=None)
    for read in (open_gauges, lambda *a, **k: open_watershed(a[0], "01000001", **k)):
        with pytest.raises(InputError, match=r"not written yet|not done"):
            read(stored.store, partial=True)
    run(load_catalog(stored.catalog), stored.store, client)
    assert open_watershed(stored.store, "01000001").load().identical(whole)


def test_touched_files_of_another_forcing_change_only_its_blocks(stored: World, client: Client):
    stored.edit(forcings={"precipitation": rain_of(stored), "temperature": temperature(stored)})
    changed(stored, client)
    os.utime(stored.folder / "warm" / "warm_20200108.tif")
    (block,) = run(load_catalog(stored.catalog), stored.store, client).blocks
    assert block.name == "2020-01-07"
    assert set(block.invalid_pixels) == {"temperature"}
