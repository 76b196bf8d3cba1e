"""What `inspect` says of files: hand-made ones, whose content is known, and real ones."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyflwdir
import pytest
import rasterio
import xarray as xr
from scipy.ndimage import gaussian_filter
from typer.testing import CliRunner, Result

from pipeline.__main__ import app
from pipeline.catalog.models import Catalog, load_catalog
from pipeline.gauges.flags import FLAGS
from pipeline.inspect.description import Description, suspected_codes
from pipeline.inspect.directions import fitting_tables
from pipeline.inspect.draft.groups import SITE_NUMBER, Group
from pipeline.inspect.draft.sites import match_sites
from pipeline.inspect.inspect_file import inspect_file
from pipeline.inspect.time_template import time_template
from pipeline.store.read import open_gauges, open_region
from pipeline.watersheds.direction_codes import CODES
from tests.pipeline.handmade import World


def inspect(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["inspect", *map(str, arguments)])


def facts(path: Path) -> dict[str, str]:
    """Labels and texts; of several lines with one label, all."""
    found: dict[str, str] = {}
    for label, text in inspect_file(path).facts:
        found[label] = f"{found[label]} | {text}" if label in found else text
    return found


# ------------------------------------------------------------------ directions


@pytest.fixture(scope="module")
def esri() -> np.ndarray:
    """Directions of random hills, as pyflwdir derives them, in ESRI's codes."""
    rng = np.random.default_rng(3)
    height = gaussian_filter(rng.normal(size=(90, 120)), 5) + rng.normal(0, 1e-3, (90, 120))
    return pyflwdir.from_dem(height.astype(np.float32)).to_array("d8").astype(np.float64)


def recoded(esri: np.ndarray, name: str) -> np.ndarray:
    """The same directions in another numbering; a pit is its first code that drains nowhere."""
    out = np.full(esri.shape, float(CODES[name].pits[0]))
    for code, value in zip(CODES["esri"].around, CODES[name].around, strict=True):
        out[esri == code] = value
    return out


@pytest.mark.parametrize("name", CODES)
def test_the_numbering_of_directions_is_found(esri: np.ndarray, name: str) -> None:
    values = recoded(esri, name)
    fits = fitting_tables(values)
    assert next(iter(fits)) == name
    assert fits[name].circling == 0
    areas = pyflwdir.from_array(esri.astype(np.uint8), ftype="d8").upstream_area()
    assert fits[name].greatest == areas.max()


def test_other_rasters_are_no_directions() -> None:
    rng = np.random.default_rng(5)
    assert fitting_tables(rng.normal(size=(50, 50))) == {}
    assert fitting_tables(rng.integers(1, 9, (50, 50)).astype(float)) == {}  # no flow has circles


# ------------------------------------------------------------------ codes and names


@pytest.mark.parametrize(
    ("values", "codes"),
    [
        ([*range(20), -99, -99, -99], {-99.0: 3}),
        ([*range(20), -1.2345, -1.2345, -1.2345], {-1.2345: 3}),
        ([*range(20), 9.96921e36, 9.96921e36, 9.96921e36], {9.96921e36: 3}),
        ([*range(20), 9999, 9999, 9999], {9999.0: 3}),
        ([*range(20), -99], {}),  # once
        ([*np.linspace(-30, 30, 61), -9, -9, -9], {}),  # degrees
        ([0, 0, 0, 0, 5, 5, 5, 1, 2, 3, 4], {}),
    ],
)
def test_codes_that_look_missing(values: Sequence[float], codes: dict[float, int]) -> None:
    assert suspected_codes(np.array(values, float)) == codes


@pytest.mark.parametrize(
    ("name", "template", "time"),
    [
        ("prism_20160101.tif", "prism_{time:%Y%m%d}.tif", "2016-01-01 00:00:00"),
        ("st4.2005010100.01h.grb", "st4.{time:%Y%m%d%H}.01h.grb", "2005-01-01 00:00:00"),
        ("RAP_201008260600.h5", "RAP_{time:%Y%m%d%H%M}.h5", "2010-08-26 06:00:00"),
        ("rain_2016-02-30.nc", "rain_{time:%Y}-02-30.nc", "2016-01-01 00:00:00"),
        (
            "3B-HHR.MS.MRG.3IMERG.20240115-S003000-E005959.0030.V07B.HDF5",
            "3B-HHR.MS.MRG.3IMERG.{time:%Y%m%d-S%H%M%S}-*.V07B.HDF5",
            "2024-01-15 00:30:00",
        ),
        ("basin_99999999.tif", None, None),
        (
            "rain/2014/09/09/rain_201409090100_201409090100.tif",
            "rain/{time:%Y}/{time:%m}/{time:%d}/rain_{time:%Y%m%d%H%M}_{time:%Y%m%d%H%M}.tif",
            "2014-09-09 01:00:00",
        ),
        (
            "v2/10/20141001-S000000-E002959.h5",
            "v2/{time:%m}/{time:%Y%m%d-S%H%M%S}-*.h5",
            "2014-10-01 00:00:00",
        ),
        (
            "201409/a_2014090100_2014090200.tif",
            "{time:%Y%m}/a_{time:%Y%m%d%H}_*.tif",
            "2014-09-01 00:00:00",
        ),
    ],
)
def test_times_in_names(name: str, template: str | None, time: str | None) -> None:
    found = time_template(name)
    assert (found and found[0], found and str(found[1])) == (template, time)


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("V3524010.csv", "V3524010"),
        ("discharge_03539600.csv", "03539600"),
        ("08KC001_flow.csv", "08KC001"),
        ("camels_102101A.csv", "102101A"),
        ("9104020_Q_Day.txt", "9104020"),
        ("version2.csv", None),
        ("attributes.csv", None),
    ],
)
def test_site_numbers_in_names(name: str, number: str | None) -> None:
    found = SITE_NUMBER.search(name)
    assert (found and found[0]) == number


# ------------------------------------------------------------------ hand-made files


def test_a_raster_of_known_content(world: World, tmp_path: Path) -> None:
    said = facts(world.raster(3))
    rain = world.rain[3]
    assert said["format"].startswith("GDAL GTiff, 1 bands, float32")
    assert f"{np.nanmin(rain):.6g} to {np.nanmax(rain):.6g}" in said["values"]
    assert f"{np.isnan(rain).mean():.1%} missing" in said["values"]
    assert "rain_{time:%Y%m%d}.tif" in said["time in name"]
    assert "EPSG:4326" in said["CRS"]
    assert "12 rows x 12 columns" in said["grid"]
    assert "refused" not in said


def test_a_packed_dataset_of_known_content(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    packed = rng.integers(0, 500, (4, 6, 5)).astype(np.int16)
    packed[:, 0, 0] = -1
    times = np.array(["2001-02-03T06", "2001-02-03T07", "2001-02-03T08", "2001-02-03T10"], "M8[ns]")
    bounds = np.stack([times - np.timedelta64(1, "h"), times], axis=1)
    attributes = {"units": "mm/h", "scale_factor": 0.1, "_FillValue": np.int16(-1)}
    data = xr.Dataset(
        {
            "pcp_rate": (("time", "lat", "lon"), packed, attributes),
            "time_bnds": (("time", "nv"), bounds),
        },
        {
            "time": ("time", times, {"bounds": "time_bnds"}),
            "lat": ("lat", 40 + 0.5 * np.arange(6), {"units": "degrees_north"}),
            "lon": ("lon", 8 + 0.25 * np.arange(5), {"units": "degrees_east"}),
        },
    )
    path = tmp_path / "rate.nc"
    data.to_netcdf(path, encoding={"time": {"units": "hours since 2001-01-01"}})
    said = facts(path)
    valid = packed[packed >= 0] * 0.1
    assert "'mm/h': read as mm/h" in said["units"]
    assert "6 rows x 5 columns of 0.5 x 0.25 degrees" in said["grid"]
    assert "7.875..9.125 E, 39.75..42.75 N, rows from south to north" in said["grid"]
    assert "2001-02-03 06:00:00 to 2001-02-03 10:00:00, 4 times" in said["times"]
    assert "1 h (2), 2 h (1)" in said["times"]
    assert "a label is the end of its interval" in said["bounds"]
    assert "int16, scale 0.1" in said["packing"]
    assert f"{valid.min():.6g} to {valid.max():.6g}" in said["values"]
    assert f"{1 - valid.size / packed.size:.1%} missing" in said["values"]
    per_year = valid.mean() * 24 * 365.25
    assert f"{per_year:.4g} mm a year" in said["as rain"]


def test_running_totals_are_suspected(tmp_path: Path) -> None:
    total = np.random.default_rng(2).random((9, 4, 4)).cumsum(axis=0)
    times = np.datetime64("2001-01-01", "ns") + np.arange(9) * np.timedelta64(3600, "s")
    coordinates = {"time": times, "lat": np.arange(4.0), "lon": np.arange(4.0)}
    for name, values in (("total", total), ("amount", np.diff(total, axis=0, prepend=0))):
        path = tmp_path / f"{name}.nc"
        xr.Dataset({"rain": (("time", "lat", "lon"), values)}, coordinates).to_netcdf(path)
        assert ("running totals" in facts(path).get("as rain", "")) == (name == "total")


def test_a_record_and_polygons_of_known_content(world: World) -> None:
    said = facts(world.folder / "discharge.csv")
    assert "2020-01-01 00:00:00 to 2020-01-12 00:00:00, 24 times" in said["times"]
    assert said["sites"] == "01000001, 01000002"
    assert "site is site_no" in said["guess"]
    assert "discharge is discharge" in said["guess"]
    assert said["flags"] == "A (24)"
    said = facts(world.folder / "basins.geojson")
    assert said["site_field"].startswith("site:")
    assert said["features"] == "2: 2 Polygon"


def test_the_map_is_a_picture_of_the_values(world: World, tmp_path: Path) -> None:
    for path in (world.raster(0), world.folder / "discharge.csv", world.folder / "basins.geojson"):
        picture = tmp_path / f"{path.stem}.png"
        assert inspect(path, "--map", picture).exit_code == 0
        with rasterio.open(picture) as file:
            assert file.driver == "PNG"
            assert len(np.unique(file.read(1))) > 5


def test_what_cannot_be_inspected(tmp_path: Path, world: World) -> None:
    missing = inspect(tmp_path / "nothing.nc")
    assert missing.exit_code == 2
    assert missing.stderr.startswith(f"error: {tmp_path / 'nothing.nc'}: not readable")
    broken = tmp_path / "broken.nc"
    broken.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    assert inspect(broken).exit_code == 2
    several = inspect(world.raster(0), world.raster(1), "--map", tmp_path / "a.png")
    assert several.exit_code == 2
    assert "expected one" in several.stderr


# ------------------------------------------------------------------ real files

REAL = [
    ("rasters/era5_cmor_rhine_pr_2000.nc", "raster", ["the middle of its interval", "818.5 mm"]),
    ("rasters/wflow_piave_inmaps.nc", "raster", ["attribute 'unit'", "53 rows x 58 columns"]),
    ("rasters/vic_runoff_undeclared_fill.nc", "raster", ["42.0% missing", "nothing says so"]),
    ("rasters/livneh_single_cell_1972.nc", "raster", ["'mm timestep-1': read as mm"]),
    ("rasters/rotated_pole_hirham_pr.nc", "raster", ["expected the same position"]),
    ("rasters/rdpa_apcp24h_2023121806.grib2", "raster", ["2.6% missing", "{time:%Y%m%d%H}"]),
    ("rasters/chirps_iran_template.tif", "raster", ["0 to 232", "needs {time:...}"]),
    ("rasters/opera_odim_20180824180000.hdf", "raster", ["0 to 1205.22", "49.9% missing"]),
    ("rasters/knmi_RAD_NL25_RAP_5min_201008260600.h5", "raster", ["0 to 0.96", "74.4% missing"]),
    ("rasters/nimrod_precipaccum_2km_cutout", "unknown", ["Met Office NIMROD"]),
    ("rasters/radolan_RW-20221018_first3h.tar.gz", "unknown", ["tar -xf"]),
    (
        "rasters/raa01-rw_10000-1408030950-dwd---bin.gz",
        "raster",
        ["0 to 42.1,", "20.4% missing", "2014-08-03 09:50:00", "the end of its interval"],
    ),
    (
        "rasters/raa01-yw2017.002_10000-1708160055-dwd---bin.gz",
        "raster",
        ["0 to 81.6,", "38.4% missing", "intervals of 5 min"],
    ),
    (
        "gauges/headerless_grendon_underwood.csv",
        "record",
        ["-1 occurs 1172 times", "decimal comma"],
    ),
    ("gauges/nve_hydag_2200022.txt", "record", ["-9999 occurs 673 times", "15705 times"]),
    ("gauges/eccc_04JD005_Daily_Flow_ts.csv", "record", ["B (7741)", "0.873 to 382"]),
    ("gauges/wmis_406265_streamflow_15min.csv", "record", ["170 (3000, always '0.00': missing?)"]),
    (
        "gauges/raven_salmon_08KC001_1995_2010.nc",
        "record",
        ["-1.2345 occurs 1443 times", "discharge is qobs", "station_name: 08KC001"],
    ),
    ("gauges/grdc_9104020.day", "record", ["1887-11-01", "states m3/s", "Latin-1"]),
    ("gauges/camels_us_03015500_streamflow_qc.txt", "record", ["%Y %m %d", "42 to 6380"]),
    ("gauges/hydat_subset.sqlite3", "record", ["DLY_FLOWS: 257 rows", "05AA008, 05HD008"]),
    ("flowdir/taudem_loganp.tif", "directions", ["taudem", "EPSG:26912"]),
    ("flowdir/wflow_rhine_ldd.map", "directions", ["terrain.codes: ldd", "none"]),
    ("flowdir/rhine_d8_codes_0_and_247.tif", "directions", ["terrain.codes: esri"]),
    ("flowdir/lisflood_fraser_ldd.nc", "directions", ["terrain.codes: ldd"]),
    ("flowdir/global_upstream_area_30min_km2.tif", "raster", ["5.92164e+06"]),
    ("flowdir/headless_matrix_flwdir1.asc", "unknown", ["not a table"]),
    ("polygons/agger_no_prj.shp", "polygons", ["13 Polygon", "no degrees", "has no CRS"]),
    ("polygons/basin_10_no_prj.zip", "polygons", ["could be degrees", "ID"]),
    (
        "polygons/broken_river_invalid.shp",
        "polygons",
        ["6488.78 km2", "AlbersArea, in m2", "GDA94"],
    ),
    ("polygons/hydrofabric_01073000.gpkg", "polygons", ["31.6561 km2", "divide_id", "flowpaths"]),
]


@pytest.mark.parametrize(("name", "kind", "fragments"), REAL, ids=[one[0] for one in REAL])
def test_real_files(domst_data: Path, name: str, kind: str, fragments: Sequence[str]) -> None:
    """The figures are those that the data's own README gives."""
    text = inspect_file(domst_data / "foreign" / name).text()
    assert text.startswith(f"{domst_data / 'foreign' / name}: {kind}\n")
    for fragment in fragments:
        assert fragment in text, text


def test_every_foreign_file_is_described(domst_data: Path) -> None:
    """One screen each, and no traceback."""
    folder = domst_data / "foreign"
    parts = {".dbf", ".shx", ".prj", ".md"}
    paths = [p for p in sorted(folder.rglob("*")) if p.is_file() and p.suffix not in parts]
    assert len(paths) >= 60
    for path in paths:
        lines = inspect_file(path).text().splitlines()
        assert 3 <= len(lines) <= 40, path


# ------------------------------------------------------------------ drafts of catalogs


def differences(one: Any, other: Any, at: str = "") -> set[str]:
    """Keys whose values differ, with the keys above them."""
    if not (isinstance(one, dict) and isinstance(other, dict)):
        return set() if one == other else {at}
    return {
        key
        for name in one.keys() | other.keys()
        for key in differences(one.get(name), other.get(name), f"{at}.{name}".strip("."))
    }


def drafted_text(folder: Path, out: Path) -> str:
    done = CliRunner().invoke(app, ["init", str(folder), "--out", str(out)])
    assert (done.exit_code, done.stdout.strip()) == (0, str(out)), done.output
    return out.read_text()


def drafted(folder: Path, out: Path) -> Catalog:
    drafted_text(folder, out)
    return load_catalog(out)


def test_the_draft_of_the_sample_is_its_catalog(tiny_sample: Path, tmp_path: Path) -> None:
    """But for the hour at which a day begins, which no file tells, and what is said of the data."""
    draft = drafted(tiny_sample, tmp_path / "draft.yaml")
    shipped = load_catalog(tiny_sample / "catalog.yaml")
    assert draft.locate("x") == shipped.locate("x")
    by_hand = {
        "title", "synthetic", "root", "period.start", "period.end", "gauges.time.offset",
        "forcings.precipitation.time.offset", "forcings.temperature.time.offset",
    }  # fmt: skip
    assert differences(draft.model_dump(), shipped.model_dump()) == by_hand
    six = timedelta(hours=6)
    assert draft.period.start + six == shipped.period.start
    assert draft.period.end + six == shipped.period.end


def test_the_draft_of_daddys_creek_is_its_catalog(domst_data: Path, tmp_path: Path) -> None:
    """But for labels, the offsets of days, and the share of cells at the rim, set by hand."""
    draft = drafted(domst_data / "daddys_creek", tmp_path / "draft.yaml")
    shipped = load_catalog(Path(__file__).parents[2] / "catalogs/daddys_creek.yaml")
    expected = json.loads(shipped.model_dump_json().replace("daddys_creek/", ""))
    by_hand = {
        "title", "root", "period.start", "period.end", "gauges.time.offset",
        *(f"forcings.{name}.{key}" for name in ("precipitation", "temperature")
          for key in ("product", "time.label", "time.offset", "min_valid")),
    }  # fmt: skip
    assert differences(json.loads(draft.model_dump_json()), expected) == by_hand
    assert draft.period.start == datetime(2016, 1, 1)  # of the labels, which name the days' ends
    assert draft.locate(draft.gauges.files) == shipped.locate(shipped.gauges.files)


def test_a_drafted_catalog_runs_to_the_same_store(world: World) -> None:
    draft = world.folder / "draft.yaml"
    assert "units: OPEN" in drafted_text(world.folder, draft)
    draft.write_text(draft.read_text().replace("units: OPEN", "units: m3/s"))
    for catalog, store in ((world.catalog, "one.zarr"), (draft, "two.zarr")):
        done = world.command("run", catalog, "--store", world.folder / store, "--workers", 1)
        assert done.exit_code == 0, done.output
    names = ["precipitation", "valid_fraction"]
    one, two = (open_region(world.folder / name)[names].load() for name in ("one.zarr", "two.zarr"))
    xr.testing.assert_equal(one, two)
    one, two = (open_gauges(world.folder / name).load() for name in ("one.zarr", "two.zarr"))
    xr.testing.assert_equal(one["discharge"], two["discharge"])
    assert np.unique(two["flag"]) == FLAGS["approved"], "the draft finds the column of flags too"


@pytest.mark.parametrize(
    ("real", "product", "start", "end"),
    [
        ("PRISM_ppt_stable_4kmD2_20170101_bil.zip", "prism", "2016-12-31T12", "2017-01-01T12"),
        ("stage4_2005010100.01h.grb", "stage4", "2004-12-31T23", "2005-01-01T00"),
        ("CMORPH_V1.0_ADJ_0.25deg-HLY_2017010101.nc", "cmorph", "2017-01-01T01", "2017-01-01T02"),
        ("AORC_APCP_MARFC_1984010100.nc4", "aorc", "1983-12-31T23", "1984-01-01T00"),
        ("gridmet_pr_2000_oregon.nc", "gridmet", "2000-01-01T07", "2001-01-01T07"),
        (
            "3B-HHR.MS.MRG.3IMERG.20170103-S110000-E112959.0660.V06B.HDF5.SUB.hdf5",
            *("imerg", "2017-01-03T11", "2017-01-03T12"),
        ),
    ],
)
def test_drafts_know_products_and_their_days(
    domst_data: Path, tmp_path: Path, real: str, product: str, start: str, end: str
) -> None:
    folder = tmp_path / "raw"
    folder.mkdir()
    published = {"stage4": "ST4.2005010100.01h", "gridmet": "pr_2000.nc"}
    name = published.get(product, real)  # the others have their publisher's names
    (folder / name).symlink_to(domst_data / "precipitation" / real)
    catalog = drafted(folder, tmp_path / "draft.yaml")
    source = catalog.forcings["precipitation"]
    assert (source.product, source.files != "") == (product, True)
    assert catalog.period.start == np.datetime64(start)
    assert catalog.period.end == np.datetime64(end)


def test_files_that_contradict_a_product_are_drafted_without_it(
    tmp_path: Path, domst_data: Path
) -> None:
    folder = tmp_path / "raw"
    folder.mkdir()
    for name in ("daymet_v4_daily_na_prcp_2000.nc", "pr_2000.nc"):  # which hold other variables
        real = domst_data / "precipitation/CMORPH_V1.0_ADJ_0.25deg-HLY_2017010101.nc"
        (folder / name).symlink_to(real)
    source = drafted(folder, tmp_path / "draft.yaml").forcings["precipitation"]
    assert (source.product, source.variable) == (None, "cmorph")


def test_a_draft_of_one_dataset_uses_its_bounds(tmp_path: Path, domst_data: Path) -> None:
    folder = tmp_path / "raw"
    folder.mkdir()
    (folder / "rain.nc").symlink_to(domst_data / "foreign/rasters/era5_cmor_rhine_pr_2000.nc")
    catalog = drafted(folder, tmp_path / "draft.yaml")
    source = catalog.forcings["precipitation"]
    assert (source.driver, source.variable, source.units) == ("netcdf", "pr", "kg m-2 s-1")
    assert (source.time.label, source.time.offset) == ("start", timedelta(hours=-12))
    text = (tmp_path / "draft.yaml").read_text()
    assert text.count("OPEN") >= 6, "what was not found is said to be open"


def test_a_draft_replaces_nothing(tiny_sample: Path, tmp_path: Path) -> None:
    before = (tiny_sample / "catalog.yaml").read_bytes()
    for folder in (tiny_sample, tmp_path / "nothing"):
        done = CliRunner().invoke(app, ["init", str(folder)])
        assert done.exit_code == 2
        assert "expected" in done.stderr
    assert (tiny_sample / "catalog.yaml").read_bytes() == before


def test_a_table_with_a_column_a_site(tmp_path: Path) -> None:
    """Whose letters belong to the sites, and whose codes are looked for in all columns."""
    days = pd.date_range("2001-01-01", periods=40)
    table = pd.DataFrame({"year": days.year, "month": days.month, "day": days.day})
    table["Q_912101A"] = np.linspace(1, 9, 40).round(2)
    table["Q_912105A"] = [*np.linspace(2, 8, 35).round(2), *[-99.99] * 5]
    path = tmp_path / "flow.csv"
    table.to_csv(path, index=False)
    found = inspect_file(path)
    assert found.sites == {"the names of columns": ["912101A", "912105A"]}
    assert found.keys["columns"] == {
        "site": None, "time": ["year", "month", "day"], "discharge": "Q_{site}",
    }  # fmt: skip
    assert (found.keys["missing"], found.keys["units"]) == ([-99.99], "OPEN")


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        (  # as of the UK's National River Flow Archive: lines of as many fields above
            "file,timestamp,2019-01-01\nstation,id,39001\ndata,first,2001-01-01\n{rows}",
            {"skip": 3, "columns": {"site": None, "time": 1, "discharge": 2}},
        ),
        (
            "#Station Number,410730\n#Timestamp,Value\n{rows}",
            {"comment": "#", "columns": {"site": None, "time": 1, "discharge": 2}},
        ),
        (
            "Stationsnummer;2357\n\nDatum;Vattenföring (m³/s)\n{rows}",
            {"skip": 2, "units": "m3/s", "delimiter": ";"},
        ),
    ],
)
def test_lines_above_a_table(tmp_path: Path, text: str, keys: dict[str, Any]) -> None:
    days = pd.date_range("2001-01-01", periods=40)
    mark = ";" if ";" in text else ","
    rows = "".join(f"{day:%Y-%m-%d}{mark}{k + 0.5}\n" for k, day in enumerate(days))
    if text.startswith("file"):
        rows = rows.replace("\n", ",\n")
    path = tmp_path / "flow.csv"
    path.write_text(text.format(rows=rows))
    found = inspect_file(path)
    assert found.kind == "record"
    assert {key: found.keys.get(key) for key in keys} == keys
    assert "refused" not in dict(found.facts), found.text()


@pytest.mark.parametrize(
    ("name", "head", "fields", "expected"),
    [
        ("q_4711.csv", "", {"id": ["4711", "12"]}, ("q_{site}.csv", "id", ("4711",))),
        ("q.csv", "Station: 4711, 1999\n", {"id": ["4711", "1999"]}, ("q.csv", "id", ("4711",))),
        ("q.csv", "", {"id": ["4711"]}, ("q.csv", None, ())),
        ("q_39.csv", "site 04711\n", {"a": ["39"], "b": ["4711"]}, ("q_39.csv", "b", ("4711",))),
    ],
)
def test_sites_of_records_are_found_in_polygons(
    tmp_path: Path,
    name: str,
    head: str,
    fields: dict[str, list[str]],
    expected: tuple[str, str | None, tuple[str, ...]],
) -> None:
    days = pd.date_range("2001-01-01", periods=30)
    rows = "".join(f"{day:%Y-%m-%d},{k + 0.5}\n" for k, day in enumerate(days))
    (tmp_path / name).write_text(f"{head}day,flow\n{rows}")
    description = inspect_file(tmp_path / name)
    polygons = Description(tmp_path / "basins.gpkg", "polygons", sites=fields)
    record = Group(name, [tmp_path / name], [], description)
    match = match_sites(record, Group("basins.gpkg", [polygons.path], [], polygons))
    assert (match.files, match.field, match.sites) == expected
