"""What a run would refuse of records, polygons and terrain, a plan refuses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin

from pipeline.catalog.models import load_catalog
from pipeline.errors import InputError
from pipeline.watersheds.flow_distance import require_reached
from pipeline.watersheds.polygons import read_watersheds
from tests.pipeline.handmade import World


def no_record(world: World) -> Path:
    (world.folder / "discharge.csv").unlink()
    return world.folder / "discharge.csv"


def no_record_of_one(world: World) -> Path:
    path = world.folder / "discharge.csv"
    path.write_text("\n".join(x for x in path.read_text().splitlines() if "01000002" not in x))
    return path


def record_of_another_time(world: World) -> Path:
    path = world.folder / "discharge.csv"
    path.write_text(path.read_text().replace("2020-", "1990-"))
    return path


def no_terrain(world: World) -> Path:
    world.edit(terrain={"dem": "dem.tif"})
    return world.folder / "dem.tif"


def write_directions(world: World, west: float, code: int) -> Path:
    path = world.folder / "d8.tif"
    about = {"driver": "GTiff", "height": 300, "width": 300, "count": 1, "dtype": "uint8"}
    transform = from_origin(west, 43.5, 0.01, 0.01)
    with rasterio.open(path, "w", **about, crs="EPSG:4326", transform=transform) as file:
        file.write(np.full((1, 300, 300), code, np.uint8))
    world.edit(terrain={"d8": "d8.tif", "codes": "esri"})
    return path


def terrain_elsewhere(world: World) -> Path:
    return write_directions(world, 10.0, 1)


def other_codes(world: World) -> Path:
    return write_directions(world, -93.5, 3)


def test_terrain_has_to_reach_every_watershed(world: World) -> None:
    """Directions that end at the first watershed's east, where the smaller one begins."""
    path = write_directions(world, -92.69, 1)
    catalog = load_catalog(world.catalog)
    site, other = read_watersheds(catalog)
    require_reached(catalog, [other])
    with pytest.raises(InputError, match=f"expected pixels in the watershed of {site.site_no}"):
        require_reached(catalog, [other, site])
    planned = world.command("plan", world.catalog)
    assert planned.exit_code == 2
    assert f"{path}: spans -92.685" in planned.stderr
    assert site.site_no in planned.stderr


@pytest.mark.parametrize(
    "spoil",
    [
        no_record, no_record_of_one, record_of_another_time, no_terrain, terrain_elsewhere,
        other_codes,
    ],
)  # fmt: skip
def test_plan_refuses_what_a_run_refuses(world: World, spoil: Callable[[World], Path]) -> None:
    assert world.command("plan", world.catalog).exit_code == 0
    named = spoil(world)
    planned, done = world.command("plan", world.catalog), world.run()
    assert (planned.exit_code, done.exit_code) == (2, 2), (planned.output, done.output)
    found = planned.stderr.partition("expected")[0]  # a run expects any file before it opens it
    assert found == done.stderr.partition("expected")[0]
    assert str(named) in found
