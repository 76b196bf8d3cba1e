"""What panels are drawn from: blocks of numbers, floods, and what a head has learned."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import shapely
import torch

from model.evaluation.metrics import peak_error
from model.inputs.pack import make_pack
from model.network import tensor_file
from model.network.domst import DomST
from model.output.report.blocks import pack, unpack
from model.output.report.floods import largest_floods
from model.output.report.learned import read_learned
from model.output.report.panels import simplified
from model.settings import Settings
from pipeline.errors import InputError

DAY = 86_400.0


def test_a_block_holds_what_was_packed() -> None:
    rng = np.random.default_rng(0)
    arrays = {
        "flow": rng.lognormal(0, 5, 1000),
        "gaps": np.array([np.nan, 0.0, -1.5, 1e-30, 3e38]),
        "none": np.array([]),
    }
    fields, found = unpack(pack({"name": "é", "missing": np.nan}, arrays))
    assert fields == {"name": "é", "missing": None}
    assert list(found) == list(arrays)
    for name, values in arrays.items():
        np.testing.assert_allclose(found[name], values, rtol=2.0**-13 * 1.01)


def river(seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    rain = rng.gamma(0.2, 10, 300) * (rng.random(300) < 0.2)
    observed = np.convolve(rain, 0.8 ** np.arange(30))[:300].round(1)
    observed[rng.integers(0, 300, 20)] = np.nan
    return observed, np.roll(np.nan_to_num(observed), 1) * rng.uniform(0.5, 1.5)


@pytest.mark.parametrize("seed", range(10))
def test_the_largest_flood_is_the_one_of_the_peak_error(seed: int) -> None:
    observed, simulated = river(seed)
    floods = largest_floods(observed, simulated, DAY, 3)
    assert floods[0].observed == np.nanmax(observed)
    assert floods[0].peak_error == pytest.approx(peak_error(simulated, observed, window=3))
    assert [f.observed for f in floods] == sorted((f.observed for f in floods), reverse=True)
    steps = np.sort([flood.step for flood in floods])
    assert len(steps) == 5
    assert (np.diff(steps) >= 7).all()
    for flood in floods:
        around = observed[max(0, flood.step - 1) : flood.step + 2]
        assert flood.observed == observed[flood.step] == np.nanmax(around)
        assert flood.simulated == simulated[flood.step + flood.lag]


def test_a_record_that_rises_to_its_end_and_an_empty_one() -> None:
    rising = np.arange(50.0)
    (flood,) = largest_floods(rising, rising, DAY, 3)
    assert (flood.step, flood.observed, flood.lag, flood.peak_error) == (49, 49.0, 0, 0.0)
    assert largest_floods(np.full(9, np.nan), rising[:9], DAY, 3) == []


@pytest.mark.parametrize("distance", [True, False])
def test_what_is_learned_is_what_the_network_does_with_an_even_rain(
    make_head, tmp_path: Path, distance: bool
) -> None:
    """The oracle is the contribution block: a step of even rain, routed to the outlet."""
    settings = Settings(distance=distance, cell_states=False)
    settings = settings.model_copy(update={"shortest_path": 3e4})  # of many of the cells
    head = make_head("03")
    watersheds = make_pack([head], settings, torch.device("cpu")).watersheds
    network = DomST(watersheds, 1, settings)
    block = network.contribution
    assert block is not None
    with torch.no_grad():
        block.log_velocity.fill_(-0.4)
        block.log_efficiency.uniform_(-0.5, 0.5)
        effective = torch.ones(1, 1, watersheds.share.shape[1]) * block.log_efficiency.exp()
        cells = (effective[:, 0, :, None] * block.weights()).sum(-1)[0].numpy()[: head.share.size]
        even = block.weights().sum(1)[0].numpy()
    weights = {f"contribution.{n}": v.detach().clone() for n, v in block.named_parameters()}
    tensor_file.write(tmp_path / "03.safetensors", weights, {})
    share, path = head.share.astype(float), head.distance.astype(float)
    found = read_learned(tmp_path / "03.safetensors", settings, share, path, DAY, DAY)
    assert found is not None
    np.testing.assert_allclose(found.kernel, even, atol=1e-6)
    np.testing.assert_allclose(found.delivered, cells / share / cells.sum(), rtol=1e-4)
    for off in ({"contribution": False}, {"travel_time": False}, {"region": True}):
        without = settings.model_copy(update=off)
        assert read_learned(tmp_path / "no", without, share, path, DAY, DAY) is None
    whole = (tmp_path / "03.safetensors").read_bytes()
    for damaged in (whole[: len(whole) // 2], whole[:-1] + bytes([whole[-1] ^ 1])):
        (tmp_path / "03.safetensors").write_bytes(damaged)
        with pytest.raises(InputError, match=r"03\.safetensors: damaged"):
            read_learned(tmp_path / "03.safetensors", settings, share, path, DAY, DAY)


def test_simplified_outlines_keep_shape_parts_and_holes() -> None:
    ring = shapely.Point(0, 0).buffer(1, quad_segs=2000)
    holed = ring.difference(shapely.Point(0, 0).buffer(0.5))
    parts = shapely.MultiPolygon([shapely.box(3, 0, 4, 1), shapely.box(5, 0, 6, 1)])
    outlines = simplified([shapely.to_wkt(holed), shapely.to_wkt(parts)])
    found = [
        shapely.MultiPolygon([(np.transpose(r[0]), [*map(np.transpose, r[1:])]) for r in polygons])
        for polygons in outlines
    ]
    assert [len(polygons) for polygons in outlines] == [1, 2]
    assert len(outlines[0][0][0][0]) < 200
    for one, original in zip(found, (holed, parts), strict=True):
        assert one.symmetric_difference(original).area < 0.01 * original.area
