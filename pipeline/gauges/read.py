"""Read discharge records: tables, datasets, databases, and the formats of the USGS."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from pipeline.catalog.models import Catalog
from pipeline.errors import InputError
from pipeline.gauges.formats.common import listed
from pipeline.gauges.formats.csv_table import read_csv
from pipeline.gauges.formats.hydat import read_hydat
from pipeline.gauges.formats.netcdf import read_netcdf
from pipeline.gauges.formats.nwis_json import read_nwis_json
from pipeline.gauges.formats.rdb import read_rdb
from pipeline.gauges.formats.waterdata import read_waterdata
from pipeline.gauges.formats.waterml import read_waterml
from pipeline.gauges.record import GaugeRecord, RecordFile
from pipeline.gauges.rows import Row, Rows, Texts, gather
from pipeline.gauges.site_numbers import site_number

VALUES = {"daily": "daily means", "instantaneous": "instantaneous values"}
Reader = Callable[[Catalog, Path, Sequence[str]], Rows]


def _gathered(read: Callable[[Catalog, Path], Iterator[Row]]) -> Reader:
    """A reader of a file's rows, whatever the sites."""
    return lambda catalog, path, sites: gather(read, catalog, path)


# The sites are those that are wanted, all if there is none; a reader may give others, too.
READERS: dict[str, Reader] = {
    "rdb": lambda catalog, path, sites: read_rdb(catalog, path),
    "csv": read_csv,
    "json": _gathered(read_nwis_json),
    "waterml": _gathered(read_waterml),
    "waterdata": _gathered(read_waterdata),
    "netcdf": read_netcdf,
    "hydat": read_hydat,
}


def read_rows(catalog: Catalog, path: Path, sites: Sequence[str] = ()) -> Rows:
    """Read the rows of a file, at least those of some sites; without, of all.

    Raises:
        InputError: as `read_gauges`.
    """
    return READERS[catalog.gauges.format](catalog, path, sites)


def read_gauges(
    catalog: Catalog, sites: Sequence[str], areas: Mapping[str, float] | None = None
) -> dict[str, GaugeRecord]:
    """Read the discharge records of some sites.

    Args:
        catalog: describes the files, their format and units.
        sites: site numbers.
        areas: by site number the drainage area [m2], if the units are a depth.

    Returns:
        By site number, in the order of `sites`.

    Raises:
        InputError: a file or a site is missing; a column, time, value or unit contradicts the
            catalog; a site's number is spelled in several ways; a site has several series and the
            catalog selects none; one day or instant has two values; or a number looks like a code
            for no value that the catalog does not name.
    """
    gauges = catalog.gauges
    wanted = {site_number(site, catalog.usgs): (areas or {}).get(site) for site in sites}
    by_path: dict[Path, list[str]] = {}
    for site in wanted:
        by_path.setdefault(catalog.resolve(gauges.files.replace("{site}", site)), []).append(site)
    records: dict[str, GaugeRecord] = {}
    for path, here in by_path.items():  # one file at a time, as rows are many
        rows = read_rows(catalog, path, here)
        columns = gauges.columns
        if columns is not None and columns.site is None and not columns.wide:
            (site,) = here
            rows = replace(rows, site_no=Texts.repeat(site, rows.time.codes.size))
        file = RecordFile(catalog, path, rows)
        missing = [site for site in here if not file.holds(site)]
        if missing:
            raise InputError(
                f"{path}: holds {listed(file.sites)}: expected a record of {', '.join(missing)}, "
                f"{VALUES[gauges.values]} of discharge"
            )
        for site in here:
            records[site] = file.record(site, wanted[site])
    return {site: records[site] for site in wanted}
