"""Build the sample: terrain, watersheds, then weather, soil, rivers and files year by year."""

from __future__ import annotations

import itertools
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipeline.evaporation import potential_evaporation
from pipeline.sample import files, records, routing, soil, terrain, weather
from pipeline.sample.world import (
    DAY_START,
    GENERATOR_VERSION,
    STEP_HOURS,
    STEPS_PER_DAY,
    World,
)

FIRST_SITE = 99_000_001  # the service numbers no station so
STREAMS = (
    "terrain", "gauges", "storms", "textures", "temperature", "soil", "travel", "outages",
)  # fmt: skip
NAMES = (
    "Otterbrook River near Kestrel", "Alder Fork at Dunmore Mill", "Little Heron River at Sabin",
    "Wapsie Prairie Creek near Ludlow", "Marrow River at Ferris Ford", "Plum Hollow Creek at Ense",
    "Big Lantern River near Corwith", "Sorrel River at Old Haven", "Ninepin Creek near Tilden",
    "Whistling River at Barrow", "Stony Meadow River at Ulm", "Crane Fork near Halvard",
    "Bellwether River at Quarry", "Thornapple Run near Elgin Gap", "Yellow Clay River at Moss",
    "Sandpiper Creek at Rushton", "Gray Mare River near Aldous", "Tamarack Fork at Priory",
    "Cold Iron River near Wexley", "Mussel Shoal River at Denby", "Fawn Lick Creek near Osier",
    "Redgate River at Hollin", "Lower Kettle River near Varna",
)  # fmt: skip


@dataclass(frozen=True)
class Rivers:
    """Watersheds and what turns their rain into discharge; lists have one element per gauge."""

    basins: list[terrain.Basin]
    travels: list[routing.Travel]
    routes: list[routing.Route]
    pixels: np.ndarray  # flat indices of the rain pixels in any watershed
    soil: soil.Soil
    sites: list[str]
    names: list[str]


def generators(seed: int) -> dict[str, np.random.Generator]:
    """Make independent random generators, one for each part of the world."""
    children = np.random.SeedSequence(seed).spawn(len(STREAMS))
    return {
        name: np.random.Generator(np.random.PCG64(child))
        for name, child in zip(STREAMS, children, strict=True)
    }


def make_rivers(world: World, elevation: np.ndarray, rng: dict[str, np.random.Generator]) -> Rivers:
    """Delineate the watersheds of a terrain and give them velocities and soils."""
    basins = terrain.delineate(world, elevation, rng["gauges"])
    travels = routing.draw_travel(basins, rng["travel"])
    inside = sum(routing.pixel_areas(world, basin) for basin in basins)
    pixels = np.flatnonzero(inside)
    from_west = np.argsort(np.argsort([basin.outlet[0] for basin in basins]))
    return Rivers(
        basins=basins,
        travels=travels,
        routes=[
            routing.make_route(world, basin, travel, pixels)
            for basin, travel in zip(basins, travels, strict=True)
        ],
        pixels=pixels,
        soil=soil.draw_soil(world, basins, pixels, rng["soil"]),
        sites=[str(FIRST_SITE + number) for number in from_west],
        names=[f"{NAMES[number]} (synthetic)" for number in from_west],
    )


@dataclass
class History:
    """State and totals of the simulation so far, per gauge or per simulated pixel.

    Attributes:
        discharge: per gauge, float64 quarter-days of all simulated years and the steps that the
            last runoff still travels [m3/s].
        temperature: of the written days, float32 (days, pixels) [degC].
        stores: water in soil and ground.
        rain, evaporation, runoff, storage: sums over the written period, float64 (pixels,) [mm];
            storage is the change of the stores.
    """

    discharge: list[np.ndarray]
    temperature: np.ndarray
    stores: soil.Stores
    rain: np.ndarray
    evaporation: np.ndarray
    runoff: np.ndarray
    storage: np.ndarray

    @classmethod
    def before(cls, world: World, rivers: Rivers) -> History:
        """Return the state before the first year."""
        steps = (world.year_starts[-1] - world.year_starts[0]).days * STEPS_PER_DAY
        pixels = rivers.pixels.size
        return cls(
            discharge=[np.zeros(steps + route.kernel.shape[1]) for route in rivers.routes],
            temperature=np.zeros((world.days, pixels), dtype=np.float32),
            stores=soil.Stores.before(rivers.soil),
            rain=np.zeros(pixels),
            evaporation=np.zeros(pixels),
            runoff=np.zeros(pixels),
            storage=np.zeros(pixels),
        )

    def add_year(
        self,
        world: World,
        rivers: Rivers,
        start: datetime,
        rain: np.ndarray,
        temperature: np.ndarray,
        pool: Executor,
    ) -> None:
        """Simulate a water year of `rain` (quarter-days, rows, columns) that begins at `start`."""
        fall = rain.reshape(rain.shape[0], -1)[:, rivers.pixels]
        warm = temperature.reshape(temperature.shape[0], -1)[:, rivers.pixels]
        latitude = np.repeat(world.pixel_centres[1], world.shape[1])[rivers.pixels]
        days = pd.date_range(start - DAY_START, periods=warm.shape[0], freq="D")
        demand = potential_evaporation(warm, latitude, days.day_of_year.to_numpy())
        held = self.stores.soil + self.stores.ground
        runoff, evaporated = soil.simulate(fall, demand, rivers.soil, self.stores, pool)
        day = (start - world.start).days
        if day >= 0:
            self.temperature[day : day + warm.shape[0]] = warm
            self.rain += fall.sum(axis=0, dtype=np.float64)
            self.runoff += runoff.sum(axis=0, dtype=np.float64)
            self.evaporation += evaporated
            self.storage += self.stores.soil + self.stores.ground - held
        first = (start - world.year_starts[0]).days * STEPS_PER_DAY
        for total, route in zip(self.discharge, rivers.routes, strict=True):
            part = route.discharge(runoff)
            total[first : first + part.size] += part


def write_world(world: World, folder: Path, pool: Executor) -> None:
    """Write the whole sample into `folder`, which exists and is empty."""
    rng = generators(world.seed)
    for name in ("rasters", "gauges"):
        (folder / name).mkdir()
    elevation = terrain.make_elevation(world, rng["terrain"])
    files.write_dem(folder / "dem.tif", world, elevation)
    rivers = make_rivers(world, elevation, rng)
    files.write_watersheds(
        folder / "watersheds.gpkg", world, rivers.basins, rivers.sites, rivers.names
    )
    history = simulate_years(world, elevation, rivers, folder / "rasters", rng, pool)
    write_gauges(folder / "gauges", world, rivers, history)
    title = f"Synthetic sample: {len(rivers.sites)} made-up watersheds"
    files.write_texts(folder, world, title, describe_truth(world, rivers, history))


def simulate_years(
    world: World,
    elevation: np.ndarray,
    rivers: Rivers,
    folder: Path,
    rng: dict[str, np.random.Generator],
    pool: Executor,
) -> History:
    """Simulate the water years one after another and write the rasters of all but the first."""
    storms = weather.draw_storms(world, rng["storms"])
    textures = weather.make_textures(rng["textures"])
    factor = weather.climate_factor(world, elevation)
    season = weather.make_temperature(world, elevation, rng["temperature"])
    outages = files.draw_outages(world, rng["outages"])
    history = History.before(world, rivers)
    for start, end in itertools.pairwise(world.year_starts):
        rain = weather.paint_rain(world, storms, textures, factor, start, end, pool)
        warmth = season.between(start, end)
        day = (start - world.start).days
        writing: list[Future[None]] = []
        if day >= 0:
            daily = rain.reshape(-1, STEPS_PER_DAY, *world.shape).sum(axis=1)
            missing = [
                files.missing_pixels(world, outages, day + k, rng["outages"])
                for k in range(daily.shape[0])
            ]
            writing = files.write_rasters(folder, world, start, daily, warmth, missing, pool)
        history.add_year(world, rivers, start, rain, warmth, pool)
        for future in writing:
            future.result()
    return history


def write_gauges(folder: Path, world: World, rivers: Rivers, history: History) -> None:
    """Write the record of each gauge."""
    warm_up = (world.start - world.year_starts[0]).days * STEPS_PER_DAY
    iced = records.iced_gauges([basin.outlet[1] for basin in rivers.basins])
    children = np.random.SeedSequence([world.seed, FIRST_SITE]).spawn(len(rivers.sites))
    for index, (site, name) in enumerate(zip(rivers.sites, rivers.names, strict=True)):
        steps = history.discharge[index][warm_up : warm_up + world.days * STEPS_PER_DAY]
        route = rivers.routes[index]
        record = records.observe(
            world,
            steps.reshape(world.days, STEPS_PER_DAY).mean(axis=1),
            np.average(history.temperature[:, route.pixels], axis=1, weights=route.area),
            index,
            iced[index],
            np.random.Generator(np.random.PCG64(children[index])),
        )
        records.write_rdb(folder / f"{site}.rdb", world, site, name.upper(), record)


def describe_truth(world: World, rivers: Rivers, history: History) -> dict[str, Any]:
    """Return the true parameters and water balance of each watershed, by site number."""
    order = np.argsort(rivers.sites)
    return {
        "synthetic": True,
        "sample": {
            "generator_version": GENERATOR_VERSION,
            "seed": world.seed,
            "days": world.days,
            "watersheds": len(rivers.sites),
        },
        "routing": {
            "travel_time": "inverse Gaussian, mean d / v, variance 2 D d / v^3",
            "step_hours": STEP_HOURS,
            "length_class_m": routing.LENGTH_CLASS,
            "least_length_m": routing.MIN_LENGTH,
        },
        "watersheds": [_truth_of(world, rivers, history, int(index)) for index in order],
    }


def _truth_of(world: World, rivers: Rivers, history: History, index: int) -> dict[str, Any]:
    basin, travel, route = rivers.basins[index], rivers.travels[index], rivers.routes[index]

    def mean(values: np.ndarray, digits: int = 2) -> float:
        average = np.average(values[route.pixels], weights=route.area)
        return round(float(average), digits)

    water = {
        name: mean(getattr(history, name)) for name in ("rain", "evaporation", "runoff", "storage")
    }
    return {
        "site_no": rivers.sites[index],
        "name": rivers.names[index],
        "velocity_m_s": round(travel.velocity, 4),
        "dispersion_m2_s": round(travel.dispersion, 1),
        "area_km2": round(basin.area / 1e6, 1),
        "outlet": [round(float(degrees), 6) for degrees in basin.outlet],
        "parent": None if basin.parent is None else rivers.sites[basin.parent],
        "longest_path_km": round(float(np.nanmax(basin.distance)) / 1e3, 1),
        "mean_path_km": round(float(np.nanmean(basin.distance)) / 1e3, 1),
        "soil": {name: mean(getattr(rivers.soil, name), 3) for name in soil.PARAMETERS},
        "water_mm": water,
        "runoff_ratio": round(water["runoff"] / water["rain"], 3),
    }
