"""Every way in which rain is published, through `pipeline run` from a catalog, against the file
decoded without the product and overlaps of polygons."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
import yaml
from pyproj import Transformer
from scipy.io import netcdf_file

from pipeline.catalog.models import load_catalog
from pipeline.rasters.series import open_series
from pipeline.regrid.placement import Axes
from pipeline.store.read import open_region
from tests.pipeline import oracles
from tests.pipeline.handmade import World, write_polygons

LENGTH = {"day": timedelta(days=1), "hour": timedelta(hours=1)}
STAGE4 = "Total_precipitation_surface_1_Hour_Accumulation"


@dataclass(frozen=True)
class Published:
    """A file of `precipitation/`: what a catalog says of it, where to look, and its oracle.

    `shows` is what there is to see at the place, rain or the rim of the valid pixels.
    """

    name: str
    source: dict[str, Any]
    step: str
    start: str
    steps: int
    place: tuple[float, float]  # west, south corner of the watershed [degrees]
    decode: Callable[[Path], oracles.Rasters]
    shows: str = "rain"

    @property
    def interval(self) -> timedelta:
        """Length of time that one raster represents."""
        return timedelta(minutes=30) if "step" in self.source else LENGTH[self.step]


PUBLISHED = [
    Published(
        "PRISM_ppt_stable_4kmD2_20170101_bil.zip",
        {
            "driver": "gdal",
            "files": "PRISM_ppt_stable_4kmD2_{time:%Y%m%d}_bil.zip",
            "inside": "*.bil",
            "units": "mm",
            "time": {"label": "end", "offset": "12h"},
        },
        *("day", "2016-12-31T12:00:00", 1, (-89.1, 30.05)),
        oracles.zipped_bil,
    ),
    Published(
        "stage4_2005010100.01h.grb",
        {
            "driver": "grib",
            "files": "stage4_{time:%Y%m%d%H}.01h.grb",
            "units": "kg m-2",
            "time": {"label": "end"},
            "select": {"GRIB_ELEMENT": "APCP"},
        },
        *("hour", "2004-12-31T23:00:00", 1, (-114.8, 47.15)),
        oracles.grib1,
    ),
    *(
        Published(
            "MRMS_GaugeCorr_QPE_01H_00.00_20170102-120000.grib2",
            {
                "driver": "grib",
                "files": "MRMS_GaugeCorr_QPE_01H_00.00_{time:%Y%m%d-%H%M%S}.grib2",
                "units": "mm",
                "missing": [-3],
                "time": {"label": "end"},
            },
            *("hour", "2017-01-02T11:00:00", 1, place),
            oracles.grib2_png,
            shows,
        )
        for place, shows in (((-90.15, 32.25), "rain"), ((-103.9, 26.4), "rim"))
    ),
    Published(
        "3B-HHR.MS.MRG.3IMERG.20170103-S110000-E112959.0660.V06B.HDF5.SUB.hdf5",
        {
            "driver": "netcdf",
            "files": "3B-HHR.MS.MRG.3IMERG.{time:%Y%m%d-S%H%M%S}-*.hdf5",
            "variable": "precipitationCal",
            "units": "mm/h",
            "step": "30min",
            "max_missing_steps": 1,
            "min_valid": 0.4,  # half of the hour is there
        },
        *("hour", "2017-01-03T11:00:00", 1, (-76.6, 46.4)),
        lambda path: oracles.hdf5(path, "precipitationCal", "lat", "lon"),
    ),
    Published(
        "CMORPH_V1.0_ADJ_0.25deg-HLY_2017010101.nc",
        {
            "driver": "netcdf",
            "files": "CMORPH_V1.0_ADJ_0.25deg-HLY_{time:%Y%m%d%H}.nc",
            "variable": "cmorph",
            "units": "mm/h",
        },
        *("hour", "2017-01-01T01:00:00", 1, (-73.85, 41.15)),
        lambda path: oracles.hdf5(path, "cmorph", "lat", "lon"),
    ),
    Published(
        "AORC_APCP_MARFC_1984010100.nc4",
        {
            "driver": "netcdf",
            "files": "AORC_APCP_MARFC_{time:%Y%m%d%H}.nc4",
            "variable": "APCP_surface",
            "units": "kg m-2",
            "time": {"label": "end"},
        },
        *("hour", "1983-12-31T23:00:00", 1, (-75.9, 36.35)),
        lambda path: oracles.hdf5(path, "APCP_surface", "latitude", "longitude"),
        "rim",
    ),
    Published(
        "gridmet_pr_2000_oregon.nc",
        {
            "driver": "netcdf",
            "files": "gridmet_pr_{time:%Y}_oregon.nc",
            "variable": "precipitation_amount",
            "units": "mm",
            "time": {"offset": "7h"},
        },
        *("day", "2000-01-01T07:00:00", 366, (-117.6, 45.2)),
        lambda path: oracles.hdf5(path, "precipitation_amount", "lat", "lon"),
    ),
    Published(
        "daymet_lcc_km.nc",
        {"driver": "netcdf", "files": "daymet_lcc_km.nc", "variable": "prcp", "units": "mm/day"},
        *("day", "1999-09-13T00:00:00", 5, (-77.8, 34.25)),
        lambda path: oracles.lambert_in_km(path, "prcp"),
    ),
    Published(
        "stage4_curvilinear_23h.nc",
        {
            "driver": "netcdf",
            "files": "stage4_curvilinear_23h.nc",
            "variable": STAGE4,
            "units": "kg m-2",
            "time": {"label": "end"},
        },
        *("hour", "2018-09-13T18:00:00", 23, (-76.9, 34.75)),
        lambda path: oracles.by_centres(path, STAGE4),
    ),
    Published(
        "stage4_curvilinear_transposed.nc",
        {
            "driver": "netcdf",
            "files": "stage4_curvilinear_transposed.nc",
            "variable": STAGE4,
            "units": "kg m-2",
            "time": {"label": "end"},
        },
        *("hour", "2018-09-14T04:00:00", 1, (-77.3, 34.1)),
        lambda path: oracles.by_centres(path, STAGE4),
    ),
]


def describe(
    folder: Path,
    source: dict[str, Any],
    step: str,
    start: str,
    steps: int,
    place: tuple[float, float],
    **catalog: Any,
) -> World:
    """A catalog of one source, with a watershed a quarter of a degree wide and a day's discharge
    that ends when the period does."""
    folder.mkdir(exist_ok=True)
    (west, south), size = place, 0.21
    write_polygons(folder / "basins.geojson", {"01": (west, south, west + size, south + size)})
    end = datetime.fromisoformat(start) + steps * LENGTH[step]
    date = end - timedelta(days=1)
    hours = date.hour + date.minute / 60
    (folder / "discharge.csv").write_text(f"site_no,datetime,discharge\n01,{date:%Y-%m-%d},0.001\n")
    settings = {
        "title": "A published file",
        "period": {"step": step, "start": start, "end": end.isoformat()},
        "forcings": {"precipitation": source},
        "gauges": {
            "format": "csv",
            "files": str(folder / "discharge.csv"),
            "units": "m3/s",
            "time": {"offset": f"{hours}h"},
        },
        "watersheds": {"file": str(folder / "basins.geojson"), "site_field": "site"},
        **catalog,
    }
    world = World(folder, np.empty(0))
    world.catalog.write_text(yaml.safe_dump(settings))
    return world


def region_of(world: World) -> xr.Dataset:
    """Run the catalog and check its store, and read its region."""
    result = world.run()
    assert result.exit_code == 0, result.output
    result = world.command("check", world.store)
    assert result.exit_code == 0, result.output
    assert "raw files are not compared" not in result.output
    return open_region(world.store).load()


@pytest.mark.parametrize("published", PUBLISHED, ids=lambda p: f"{p.name[:8]} at {p.place}")
def test_the_store_holds_what_the_file_says(domst_data: Path, tmp_path: Path, published: Published):
    folder = domst_data / "precipitation"
    world = describe(
        tmp_path / "world",
        published.source,
        *(published.step, published.start, published.steps, published.place),
        root=str(folder),
    )
    region = region_of(world)
    raw = published.decode(folder / published.name)
    assert region.sizes["time"] == published.steps
    per_step = LENGTH[published.step] / published.interval
    least = published.source.get("min_valid", 0.5)
    seen = set()
    rng = np.random.default_rng(0)
    cells = rng.permutation(region.cell_area.size)[:6]
    for row, column in zip(*np.unravel_index(cells, region.cell_area.shape), strict=True):
        amount, area = raw.cell(float(region.x[column]), float(region.y[row]))
        fraction = area / float(region.cell_area[row, column]) / per_step
        found = region.valid_fraction[:, row, column].values
        np.testing.assert_allclose(found, fraction, atol=2e-6)
        with np.errstate(invalid="ignore"):
            expected = np.where(fraction >= least, amount / area, np.nan)
        clear = np.abs(fraction - least) > 1e-5
        value = region.precipitation[:, row, column].values
        np.testing.assert_allclose(value[clear], expected[clear], rtol=1e-5, atol=1e-5)
        seen |= {"rain"} if (expected > 0).any() else set()
        seen |= {"rim"} if ((fraction > 0.01) & (fraction < 0.99)).any() else set()
    assert published.shows in seen


def test_transposed_coordinates_are_read_as_they_are_named(domst_data: Path, tmp_path: Path):
    """The transposed twin holds the eleventh hour of the other file."""
    folder, stores = domst_data / "precipitation", []
    for twin in (p for p in PUBLISHED if p.source.get("variable") == STAGE4):
        arguments = (twin.step, "2018-09-14T04:00:00", 1, (-77.3, 34.1))
        world = describe(tmp_path / twin.name, twin.source, *arguments, root=str(folder))
        stores.append(region_of(world))
    xr.testing.assert_identical(stores[0].precipitation, stores[1].precipitation)


def test_grib_pixels_lie_where_the_same_product_says_in_netcdf(domst_data: Path, tmp_path: Path):
    """Stage IV's GRIB gives a projection, its NetCDF version latitudes and longitudes."""
    folder = domst_data / "precipitation"
    stage4 = next(p for p in PUBLISHED if p.source["driver"] == "grib")
    arguments = (stage4.step, stage4.start, stage4.steps, stage4.place)
    world = describe(tmp_path / "world", stage4.source, *arguments, root=str(folder))
    series = open_series(load_catalog(world.catalog), ["precipitation"])
    axes = series.layout.placement
    assert isinstance(axes, Axes)
    assert axes.crs is not None
    with netcdf_file(folder / "stage4_curvilinear_23h.nc", mmap=False) as file:
        lon, lat = (file.variables[name][:].astype(np.float64) for name in ("lon", "lat"))
    to_plane = Transformer.from_crs(axes.crs.geodetic_crs, axes.crs, always_xy=True)
    for place, edges in zip(
        to_plane.transform(lon, lat), (axes.x_edges, axes.y_edges), strict=True
    ):
        number = (place - edges[0]) / (edges[1] - edges[0]) - 0.5
        assert np.abs(number - np.round(number)).max() < 0.01  # pixels
