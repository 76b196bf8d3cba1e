"""Channels, against conservation, Manning's law, the theory of waves and a walk downstream."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyflwdir
import pytest
from pyproj import Geod
from scipy import sparse
from scipy.integrate import solve_ivp

from pipeline.sample.build import Rivers
from pipeline.sample.rivers import CHANNEL_AREA, Channels, bed_conveyance, route
from pipeline.sample.world import STEP_SECONDS, World

DEPTH = 1e-3 * 1e6 / STEP_SECONDS  # m3/s of 1 mm a step on 1 km2


def chain(reaches: int, length: float = 800.0, conveyance: float = 0.25) -> Channels:
    """A river without tributaries: one pixel of 1 km2 drains to its first reach."""
    shares = np.zeros((reaches, 1))
    shares[0] = 1e6
    return Channels(
        downstream=np.append(np.arange(1, reaches), -1),
        length=np.full(reaches, length),
        conveyance=np.full(reaches, conveyance),
        shares=sparse.csr_array(shares),
        gauge=np.array([reaches - 1]),
        above=np.ones((1, reaches), bool),
        bounds=np.array([0, reaches]),
    )


def routed(outflow: np.ndarray, channels: Channels, section: np.ndarray, **steps) -> np.ndarray:
    with ThreadPoolExecutor(2) as pool:
        return route(outflow, channels, section, pool, **steps)[0]


@pytest.mark.parametrize("step_seconds", [60.0, STEP_SECONDS, 30 * 86400.0])
def test_no_water_is_made_or_lost_in_the_rivers_at_any_step(made: Rivers, step_seconds: float):
    rng = np.random.default_rng(1)
    outflow = rng.gamma(0.1, 20.0, (200, made.pixels.size))  # floods, and nearly nothing
    outflow[50:100] = 0.0
    section = np.zeros(made.channels.length.size)
    discharge = routed(outflow, made.channels, section, step_seconds=step_seconds)
    assert (discharge >= 0).all()
    assert (section >= 0).all()
    came = made.areas @ outflow.sum(axis=0) / 1000
    went = discharge.sum(axis=0) * step_seconds
    np.testing.assert_allclose(went + made.channels.storage(section), came, rtol=1e-12)


def test_groups_of_rivers_do_not_change_the_result(made: Rivers):
    outflow = np.random.default_rng(2).gamma(0.3, 2.0, (40, made.pixels.size))
    whole = Channels(**{**vars(made.channels), "bounds": np.array([0, made.channels.length.size])})
    one, other = (
        routed(outflow, channels, np.zeros(channels.length.size))
        for channels in (made.channels, whole)
    )
    assert made.channels.bounds.size > 2
    np.testing.assert_array_equal(one, other)


def test_water_enters_the_first_channel_on_its_way(made: Rivers, world: World, elevation):
    flow = pyflwdir.from_dem(elevation)
    downstream = flow.idxs_ds
    drained = flow.accuflux(world.dem_area).ravel() / 1e6
    for index, basin in enumerate(made.basins):
        if basin.parent is not None:
            continue
        reaches = [p for p in np.flatnonzero(basin.mask) if drained[p] >= CHANNEL_AREA]
        assert len(reaches) == made.channels.above[index].sum()
        lateral = dict.fromkeys(reaches, 0.0)
        for start in np.flatnonzero(basin.mask):
            pixel = start
            while pixel not in lateral:
                pixel = downstream[pixel]
            lateral[pixel] += world.dem_area.flat[start]
        own = np.sort(made.channels.shares.sum(axis=1)[made.channels.above[index]])
        np.testing.assert_allclose(own, np.sort(list(lateral.values())), rtol=1e-12)
        assert made.areas[index].sum() == pytest.approx(basin.area, rel=1e-12)


def test_reaches_lead_to_their_gauge_over_the_length_of_the_meanders(made: Rivers):
    channels = made.channels
    for index, basin in enumerate(made.basins):
        ends = set()
        for start in np.flatnonzero(channels.above[index]):
            reach, walked = int(start), 0.0
            while reach != channels.gauge[index]:
                assert channels.downstream[reach] > reach, "upstream reaches come first"
                walked += channels.length[reach]
                reach = int(channels.downstream[reach])
            ends.add(round(walked, 3))
        # Sinuosity stretches the longest D8 path, which begins above the first channel.
        longest = 1.5 * np.nanmax(basin.distance)
        assert longest - 1.5 * 20e3 < max(ends) < longest


def test_beds_have_the_slope_of_the_terrain_and_their_watersheds_roughness(
    made: Rivers, world: World, elevation
):
    flow = pyflwdir.from_dem(elevation)
    lon, lat = world.dem_centres
    area = flow.accuflux(world.dem_area).ravel() / 1e6
    for index, basin in enumerate(made.basins):
        path = [basin.pixel]
        for _ in range(8):
            path.append(int(flow.idxs_ds[path[-1]]))
        rows, columns = np.divmod(path, basin.mask.shape[1])
        length = Geod(ellps="WGS84").line_length(lon[columns], lat[rows])
        fall = (elevation.flat[path[0]] - elevation.flat[path[-1]]) / length
        slope = np.array([min(max(fall, 2e-4), 5e-3) / 1.5])
        expected = bed_conveyance(area[path[:1]], slope, made.roughness[[index]])
        found = made.channels.conveyance[made.channels.gauge[index]]
        assert found == pytest.approx(expected[0], rel=1e-6)


def test_a_steady_river_obeys_mannings_law():
    area, slope, roughness = 3000.0, 4e-4, 0.04
    k = float(bed_conveyance(*(np.array([x]) for x in (area, slope, roughness)))[0])
    width, full = 2.7 * area**0.4, 1.5 * area**0.7
    depth = (full / k) ** (2 / 3) / width
    radius_law = width * depth ** (5 / 3) * np.sqrt(slope) / roughness
    assert radius_law == pytest.approx(full, rel=1e-9)
    channels, section = chain(30, conveyance=k), np.zeros(30)
    rain = 40.0 / DEPTH
    discharge = routed(np.full((200, 1), rain), channels, section)
    assert discharge[-1, 0] == pytest.approx(40.0, rel=1e-9)
    np.testing.assert_allclose(k * section**1.5, 40.0, rtol=1e-9)


@pytest.mark.parametrize("steady", [0.5, 20.0, 500.0])
def test_a_small_wave_on_a_steady_river_runs_at_the_celerity_of_its_discharge(steady: float):
    channels, k = chain(100), 0.25
    section = np.full(100, (steady / k) ** (2 / 3))
    outflow = np.full((400, 1), steady / DEPTH)
    calm = routed(outflow, channels, section.copy())
    outflow[10] *= 1.001
    wave = (routed(outflow, channels, section.copy()) - calm)[:, 0]
    delay = (wave @ np.arange(400) / wave.sum() - 10) * STEP_SECONDS
    celerity = 1.5 * k ** (2 / 3) * steady ** (1 / 3)  # dQ/dA of Q = k A^1.5
    assert 100 * 800.0 / delay == pytest.approx(celerity, rel=5e-3)


def test_fine_steps_agree_with_an_integrator_of_ordinary_differential_equations():
    channels, k, length = chain(6), 0.25, 800.0
    outflow = 30 * np.exp(-(((np.arange(60) - 20) / 6) ** 2))[:, None] / DEPTH

    def change(t: float, water: np.ndarray) -> np.ndarray:
        out = k * np.maximum(water / length, 0.0) ** 1.5
        came = outflow[min(int(t // STEP_SECONDS), 59), 0] * DEPTH
        return np.append(came, out[:-1]) - out

    ends = np.arange(1, 61) * STEP_SECONDS
    solved = solve_ivp(
        change, (0, ends[-1]), np.zeros(6), t_eval=ends, max_step=600.0, rtol=1e-8, atol=1e-4
    )
    section = np.zeros(6)
    discharge = routed(outflow, channels, section, substeps=200)
    out = (outflow[:, 0] * DEPTH * STEP_SECONDS).cumsum() - solved.y.sum(axis=0)
    expected = np.diff(out, prepend=0.0) / STEP_SECONDS
    np.testing.assert_allclose(discharge[:, 0], expected, atol=0.01 * expected.max())


def test_a_flood_arrives_before_a_small_wave_and_higher(made: Rivers):
    lag, height = {}, {}
    for name, rain in (("small", 0.5), ("large", 50.0)):
        outflow = np.zeros((400, made.pixels.size))
        outflow[0] = rain
        response = routed(outflow, made.channels, np.zeros(made.channels.length.size))
        lag[name] = response.argmax(axis=0)
        height[name] = response.max(axis=0) / rain
    assert (lag["large"] < lag["small"]).all()
    assert (height["large"] > height["small"]).all(), "a kernel would keep both"
