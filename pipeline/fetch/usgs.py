"""Fetch discharge, site metadata and basin polygons of USGS gauges with `dataretrieval`.

Daily means (parameter 00060, statistic 00003) come from the Water Data API, basins from the
Network-Linked Data Index. dataretrieval reads an API key from $API_USGS_PAT and sends it only to
the USGS's own host.
"""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import dataretrieval
import geopandas as gpd
import pandas as pd
import shapely
from dataretrieval import DataRetrievalError, nldi, waterdata
from dataretrieval.nldi import NldiConfiguration
from dataretrieval.waterdata import WaterdataConfiguration

from pipeline.catalog.gauge_source import Columns
from pipeline.catalog.models import Catalog
from pipeline.errors import InputError, RunError
from pipeline.fetch.files import Item
from pipeline.fetch.manifest import USGS_DAILY
from pipeline.fetch.services import Service
from pipeline.gauges.site_numbers import site_number
from pipeline.storage import sha256
from pipeline.units import AREA_M2

DISCHARGE, MEAN = "00060", "00003"  # parameter and statistic
DAILY_COLUMNS = {
    "monitoring_location_id",
    "time",
    "value",
    "unit_of_measure",
    "approval_status",
    "qualifier",
}
FT3_PER_S = "ft^3/s"  # as the Water Data API spells it
STATUS = {"Approved": "A", "Provisional": "P"}
WITHHELD = {"Ice": {"ICE"}, "Eqp": {"EQUIP", "EQP"}}  # older services' words: this API's
SITES, BASINS = "sites.csv", "basins"  # beside the polygons
NAME, AREA_MI2 = "monitoring_location_name", "drainage_area"
DAY = timedelta(days=1)


def plan_gauges(catalog: Catalog, service: Service) -> tuple[Path, list[Item]]:
    """Plan the fetch of daily means, one CSV file per site.

    Returns:
        The folder that holds the files, and the files to fetch.

    Raises:
        InputError: the catalog describes other files than are fetched.
    """
    gauges = catalog.gauges
    for key, found, expected in (
        ("format", gauges.format, "csv"),
        ("units", gauges.units, "ft3/s"),
        ("time_format", gauges.time_format or "%Y-%m-%d", "%Y-%m-%d"),
        ("delimiter", gauges.delimiter, ","),
        ("decimal", gauges.decimal, "."),
        ("skip", gauges.skip, 0),
    ):
        if found != expected:
            raise InputError(
                f"{catalog.path}: gauges.{key}: {found!r}: expected {expected!r}, as the records "
                "are fetched"
            )
    if "{site}" not in Path(gauges.files).name or "{site}" in str(Path(gauges.files).parent):
        raise InputError(
            f"{catalog.path}: gauges.files: {gauges.files!r}: expected {{site}} in the file's name "
            "alone"
        )
    columns = gauges.columns or Columns()
    if not all(isinstance(one, str) for one in (columns.site, columns.time, columns.discharge)):
        raise InputError(
            f"{catalog.path}: gauges.columns: expected names of site, time and discharge, as the "
            "records are fetched"
        )
    # one more day at both ends: a gauge's day begins at its local midnight
    first, last = (catalog.period.start - DAY).date(), (catalog.period.end + DAY).date()
    items = []
    for site in _sites(catalog):
        path = catalog.resolve(gauges.files.replace("{site}", site))
        days = f"{first}/{last}"
        source = f"{service.url} {USGS_DAILY} {site} {days}"
        items.append(Item(path, source, _daily_maker(service, site, days, columns)))
    return catalog.resolve(str(Path(gauges.files).parent)), items


def _daily_maker(
    service: Service, site: str, days: str, columns: Columns
) -> Callable[[], bytes | None]:
    def request() -> pd.DataFrame:
        return waterdata.get_daily(
            f"USGS-{site}", DISCHARGE, statistic_id=MEAN, time=days, skip_geometry=True
        )[0]

    def make() -> bytes | None:
        table = _request(service, request)
        return None if table.empty else daily_csv(table, site, columns, service)

    return make


def daily_csv(table: pd.DataFrame, site: str, columns: Columns, service: Service) -> bytes:
    """Write a record as CSV: site number, day, daily mean [ft3/s], qualifiers A, P, e, Ice, Eqp.

    Ice and Eqp are kept for days without a value. With a value, the day counts as estimated (e),
    as the agency publishes estimates for days of ice.

    Raises:
        RunError: the table is not one series of daily means of the site in ft3/s.
    """
    where = f"{service.name}: {site}"
    if lacking := sorted(DAILY_COLUMNS - set(table)):
        raise RunError(f"{where}: answer lacks {', '.join(lacking)}: expected daily values")
    if others := sorted(set(table["monitoring_location_id"]) - {f"USGS-{site}"}):
        raise RunError(f"{where}: answer is of {', '.join(map(str, others))}: expected USGS-{site}")
    units = sorted(set(table["unit_of_measure"].dropna()) - {FT3_PER_S})
    if units:
        raise RunError(f"{where}: units {', '.join(map(str, units))}: expected {FT3_PER_S}")
    day = pd.DatetimeIndex(pd.to_datetime(table["time"])).tz_localize(None).strftime("%Y-%m-%d")
    if day.has_duplicates:
        series = table["time_series_id"].nunique() if "time_series_id" in table else "several"
        raise RunError(
            f"{where}: {day[day.duplicated()][0]} appears twice, in {series} time series: "
            "expected one series of daily means"
        )
    value = pd.to_numeric(table["value"]).to_numpy()
    flags = [
        _flag(status, qualifier, bool(absent))
        for status, qualifier, absent in zip(
            table["approval_status"], table["qualifier"], pd.isna(value), strict=True
        )
    ]
    written = pd.DataFrame(
        {
            columns.site: site,
            columns.time: day,
            columns.discharge: value,
            columns.flag or "flag": flags,
        }
    )
    return written.sort_values(columns.time).to_csv(index=False).encode()


def _flag(status: object, qualifier: object, absent: bool) -> str:
    """Approval and qualifiers of a day in the codes of the USGS's older services."""
    listed = qualifier if isinstance(qualifier, list | tuple) else [qualifier]
    found = {word for text in listed for word in re.findall(r"[A-Z]+", str(text).upper())}
    words = [STATUS[str(status)]] if str(status) in STATUS else []
    if absent:
        words += [word for word, names in WITHHELD.items() if names & found]
    elif {"ESTIMATED", "E"}.union(*WITHHELD.values()) & found:
        words.append("e")
    return " ".join(words)


def plan_sites(catalog: Catalog, data: Service) -> tuple[Path, Item]:
    """Plan the fetch of the sites' names and drainage areas.

    Returns:
        The folder that holds the table, and the table.

    Raises:
        InputError: the catalog's polygons are not a GeoPackage.
    """
    settings = catalog.watersheds
    path = catalog.watersheds_path
    if path.suffix != ".gpkg":
        raise InputError(
            f"{catalog.path}: watersheds.file: {settings.file!r}: expected a .gpkg, as polygons "
            "are fetched"
        )
    sites = _sites(catalog)
    ids = [f"USGS-{site}" for site in sites]

    def make() -> bytes:
        table = _request(
            data, lambda: waterdata.get_monitoring_locations(ids, skip_geometry=True)[0]
        )
        if not {"monitoring_location_number", NAME, AREA_MI2} <= set(table):
            raise RunError(f"{data.name}: {SITES}: answer lacks names or areas: expected both")
        found = table["monitoring_location_number"].map(partial(site_number, usgs=True))
        if lacking := sorted(set(sites) - set(found)):
            raise RunError(f"{data.name}: has no site {', '.join(lacking)}: expected all")
        named = pd.DataFrame({"site_no": found, NAME: table[NAME], AREA_MI2: table[AREA_MI2]})
        return named.sort_values("site_no").to_csv(index=False).encode()

    return path.parent, Item(path.parent / SITES, f"{data.url} sites {' '.join(sites)}", make)


def plan_basins(catalog: Catalog, service: Service) -> list[Item]:
    """Plan the fetch of basin polygons, one GeoJSON file per site."""
    folder = catalog.watersheds_path.parent / BASINS
    return [_basin(folder / f"{site}.geojson", site, service) for site in _sites(catalog)]


def _basin(path: Path, site: str, service: Service) -> Item:
    feature = f"USGS-{site}"

    def make() -> bytes:
        answer = _request(
            service,
            lambda: nldi.get_basin("nwissite", feature, simplified=False, as_json=True),
        )
        features = answer.get("features") if isinstance(answer, dict) else None
        if not features or any(not one.get("geometry") for one in features):
            raise RunError(f"{service.name}: {site}: no polygon in the answer: expected one")
        return json.dumps(answer).encode()

    return Item(path, f"{service.url}/nwissite/{feature}/basin", make)


def merge_polygons(catalog: Catalog) -> Item:
    """Plan the catalog's polygon file, made from the basins and the table of sites."""
    settings = catalog.watersheds
    path = catalog.watersheds_path
    table = path.parent / SITES
    basins = {site: path.parent / BASINS / f"{site}.geojson" for site in _sites(catalog)}
    site, name = settings.site_field or "", settings.name_field or "NAME"
    fields = (site, name, settings.area_field or "DRAINAGE")
    units = settings.area_units if settings.area_field else "mi2"
    parts = [sha256(one) for one in (table, *basins.values()) if one.exists()]
    digest = hashlib.sha256(" ".join([*parts, *fields, units]).encode()).hexdigest()

    def make() -> bytes:
        known = pd.read_csv(table, dtype={"site_no": str}).set_index("site_no")
        area = known[AREA_MI2].loc[list(basins)] * (AREA_M2["mi2"] / AREA_M2[units])
        values = (list(basins), known[NAME].loc[list(basins)].tolist(), area.tolist())
        rings = [_polygon(basin) for basin in basins.values()]
        frame = gpd.GeoDataFrame(dict(zip(fields, values, strict=True)), geometry=rings, crs=4326)
        with tempfile.TemporaryDirectory() as folder:
            written = Path(folder) / path.name
            frame.to_file(written, driver="GPKG", layer="watersheds")
            return written.read_bytes()

    return Item(path, f"{SITES} and {BASINS}, {digest}", make)


def _polygon(path: Path) -> shapely.Geometry:
    features = json.loads(path.read_text())["features"]
    return shapely.union_all([shapely.geometry.shape(one["geometry"]) for one in features])


def _sites(catalog: Catalog) -> list[str]:
    assert catalog.watersheds.sites
    return sorted({site_number(site, usgs=True) for site in catalog.watersheds.sites})


def _request(service: Service, call: Callable[[], Any]) -> Any:
    """Request through dataretrieval, which retries temporary failures.

    Raises:
        RunError: the service refuses, keeps failing, or gives an unexpected answer.
    """
    service.take_turn()
    try:
        with _configured(service):
            return call()
    except (DataRetrievalError, ValueError, KeyError, RuntimeError) as error:
        if isinstance(error, RunError):
            raise
        raise RunError(
            f"{service.name}: {service.url}: {str(error) or type(error).__name__}"
        ) from error


def _configured(service: Service) -> AbstractContextManager[None]:
    package = dataretrieval.Configuration(progress=False)
    if service.name == "nldi":
        own: Any = NldiConfiguration(base_url=service.url, retries=service.retries)
    else:
        own = WaterdataConfiguration(base_url=service.url, retries=service.retries, concurrency=1)
    return dataretrieval.configure(package, own)
