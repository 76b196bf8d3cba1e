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

from pipeline.sample import files, records, rivers, soil, terrain, weather
from pipeline.sample.evaporation import hamon_evaporation
from pipeline.sample.measured_rain import RainErrors
from pipeline.sample.world import (
    DAY_START,
    GENERATOR_VERSION,
    STEP_HOURS,
    STEP_SECONDS,
    STEPS_PER_DAY,
    World,
)
from pipeline.units import MM_PER_M

FIRST_SITE = 99_000_001  # the service numbers no station so
STREAMS = (
    "terrain", "gauges", "storms", "textures", "temperature", "soil", "channels", "outages",
    "rain errors",
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
    channels: rivers.Channels
    roughness: np.ndarray  # Manning's n of the reaches of each watershed [s m^-1/3]
    pixels: np.ndarray  # flat indices of the rain pixels in any watershed
    areas: np.ndarray  # [m2] of each of them inside each watershed, (gauges, pixels)
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
    """Delineate the watersheds of a terrain and give them channels and soils."""
    basins = terrain.delineate(world, elevation, rng["gauges"])
    roughness = rivers.draw_roughness(basins, rng["channels"])
    pixels = np.unique(np.concatenate([terrain.rain_pixels(world, basin) for basin in basins]))
    channels = rivers.dig_channels(world, elevation, basins, roughness, pixels)
    from_west = np.argsort(np.argsort([basin.outlet[0] for basin in basins]))
    return Rivers(
        basins=basins,
        channels=channels,
        roughness=roughness,
        pixels=pixels,
        areas=channels.areas,
        soil=soil.draw_soil(world, basins, pixels, rng["soil"]),
        sites=[str(FIRST_SITE + number) for number in from_west],
        names=[f"{NAMES[number]} (synthetic)" for number in from_west],
    )


@dataclass
class History:
    """State and totals of the simulation so far.

    Attributes:
        discharge: of the gauges in the quarter-days of all simulated years, float64
            (steps, gauges) [m3/s].
        temperature: of the written days, float32 (days, pixels) [degC].
        stores: water in soil, ground and on hillslopes.
        section: cross-section of the water in each reach, float64 (reaches,) [m2].
        rain, evaporation, runoff, storage: sums over the written period, float64 (gauges,) [mm]
            over the watershed; storage is the change of the stores and the channels.
        filled: mean cross-section of each reach in the written years, summed over the years.
    """

    discharge: np.ndarray
    temperature: np.ndarray
    stores: soil.Stores
    section: np.ndarray
    rain: np.ndarray
    evaporation: np.ndarray
    runoff: np.ndarray
    storage: np.ndarray
    filled: np.ndarray

    @classmethod
    def before(cls, world: World, made: Rivers) -> History:
        """Return the state before the first year: dry channels."""
        steps = (world.year_starts[-1] - world.year_starts[0]).days * STEPS_PER_DAY
        gauges, reaches = made.channels.above.shape
        return cls(
            discharge=np.zeros((steps, gauges)),
            temperature=np.zeros((world.days, made.pixels.size), dtype=np.float32),
            stores=soil.Stores.before(made.soil),
            section=np.zeros(reaches),
            rain=np.zeros(gauges),
            evaporation=np.zeros(gauges),
            runoff=np.zeros(gauges),
            storage=np.zeros(gauges),
            filled=np.zeros(reaches),
        )

    def add_year(
        self,
        world: World,
        made: Rivers,
        start: datetime,
        rain: np.ndarray,
        temperature: np.ndarray,
        pool: Executor,
    ) -> None:
        """Simulate a water year of `rain` (quarter-days, rows, columns) that begins at `start`."""
        fall = rain.reshape(rain.shape[0], -1)[:, made.pixels]
        warm = temperature.reshape(temperature.shape[0], -1)[:, made.pixels]
        latitude = np.repeat(world.pixel_centres[1], world.shape[1])[made.pixels]
        dates = pd.date_range(start - DAY_START, periods=warm.shape[0], freq="D")
        daily = fall.reshape(-1, STEPS_PER_DAY, fall.shape[1]).sum(axis=1)
        demand = hamon_evaporation(warm, daily, latitude, dates.day_of_year.to_numpy())
        before = self.held(made)
        outflow, evaporated = soil.simulate(fall, demand, made.soil, self.stores, pool)
        discharge, filled = rivers.route(outflow, made.channels, self.section, pool)
        first = (start - world.year_starts[0]).days * STEPS_PER_DAY
        self.discharge[first : first + discharge.shape[0]] = discharge
        day = (start - world.start).days
        if day < 0:
            return
        area = made.areas.sum(axis=1)
        self.temperature[day : day + warm.shape[0]] = warm
        self.rain += made.areas @ fall.sum(axis=0, dtype=np.float64) / area
        self.evaporation += made.areas @ evaporated / area
        self.runoff += discharge.sum(axis=0) * STEP_SECONDS * MM_PER_M / area
        self.storage += self.held(made) - before
        self.filled += filled

    def held(self, made: Rivers) -> np.ndarray:
        """Water in the stores and channels of each watershed, (gauges,) [mm]."""
        channels = made.channels.storage(self.section) * MM_PER_M
        return np.asarray((made.areas @ self.stores.total + channels) / made.areas.sum(axis=1))


def write_world(world: World, folder: Path, pool: Executor) -> None:
    """Write the whole sample into `folder`, which exists and is empty."""
    rng = generators(world.seed)
    for name in ("rasters", "gauges"):
        (folder / name).mkdir()
    elevation = terrain.make_elevation(world, rng["terrain"])
    files.write_dem(folder / "dem.tif", world, elevation)
    made = make_rivers(world, elevation, rng)
    files.write_watersheds(folder / "watersheds.gpkg", world, made.basins, made.sites, made.names)
    history = simulate_years(world, elevation, made, folder / "rasters", rng, pool)
    write_gauges(folder / "gauges", world, made, history)
    title = f"Synthetic sample: {len(made.sites)} made-up watersheds"
    files.write_texts(folder, world, title, describe_truth(world, made, history))


def simulate_years(
    world: World,
    elevation: np.ndarray,
    made: Rivers,
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
    errors = RainErrors.draw(world, rng["rain errors"])
    history = History.before(world, made)
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
            measured = [errors.measure(field, day + k) for k, field in enumerate(daily)]
            writing = files.write_rasters(folder, world, start, measured, warmth, missing, pool)
        history.add_year(world, made, start, rain, warmth, pool)
        for future in writing:
            future.result()
    return history


def write_gauges(folder: Path, world: World, made: Rivers, history: History) -> None:
    """Write the record of each gauge."""
    warm_up = (world.start - world.year_starts[0]).days * STEPS_PER_DAY
    iced = records.iced_gauges([basin.outlet[1] for basin in made.basins])
    children = np.random.SeedSequence([world.seed, FIRST_SITE]).spawn(len(made.sites))
    for index, (site, name) in enumerate(zip(made.sites, made.names, strict=True)):
        steps = history.discharge[warm_up:, index]
        record = records.observe(
            world,
            steps.reshape(world.days, STEPS_PER_DAY).mean(axis=1),
            np.average(history.temperature, axis=1, weights=made.areas[index]),
            index,
            iced[index],
            np.random.Generator(np.random.PCG64(children[index])),
        )
        records.write_rdb(folder / f"{site}.rdb", world, site, name.upper(), record)


def describe_truth(world: World, made: Rivers, history: History) -> dict[str, Any]:
    """Return the true parameters and water balance of each watershed, by site number."""
    order = np.argsort(made.sites)
    return {
        "synthetic": True,
        "sample": {
            "generator_version": GENERATOR_VERSION,
            "seed": world.seed,
            "days": world.days,
            "watersheds": len(made.sites),
        },
        "routing": {
            "channels": "kinematic wave along the D8 network, Q = k A^(3/2) from Manning's law",
            "hillslopes": "a store for each rain pixel, outflow by the power 3/2",
            "groundwater": "a store for each rain pixel, outflow by the power 2",
            "step_hours": STEP_HOURS / rivers.SUBSTEPS,
            "reaches": made.channels.length.size,
            "reaches_begin_at_km2": rivers.CHANNEL_AREA,
            "sinuosity": rivers.SINUOSITY,
        },
        "watersheds": [_truth_of(world, made, history, int(index)) for index in order],
    }


def _truth_of(world: World, made: Rivers, history: History, index: int) -> dict[str, Any]:
    basin, parameters = made.basins[index], made.soil
    water = {
        name: round(float(getattr(history, name)[index]), 2)
        for name in ("rain", "evaporation", "runoff", "storage")
    }
    # The delay between the mean times of water that enters and leaves the channels is what they
    # hold over what flows through (Little's law).
    held = made.channels.storage(history.filled / world.years)[index]
    through = float(history.runoff[index]) / MM_PER_M * basin.area / world.days
    return {
        "site_no": made.sites[index],
        "name": made.names[index],
        "manning_n": round(float(made.roughness[index]), 4),
        "area_km2": round(basin.area / 1e6, 1),
        "outlet": [round(float(degrees), 6) for degrees in basin.outlet],
        "parent": None if basin.parent is None else made.sites[basin.parent],
        "longest_path_km": round(float(np.nanmax(basin.distance)) / 1e3, 1),
        "mean_path_km": round(float(np.nanmean(basin.distance)) / 1e3, 1),
        "days_in_channels": round(held / through, 3),
        "soil": {
            name: round(float(np.average(getattr(parameters, name), weights=made.areas[index])), 3)
            for name in soil.PARAMETERS
        },
        "water_mm": water,
        "runoff_ratio": round(water["runoff"] / water["rain"], 3),
    }
