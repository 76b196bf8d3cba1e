"""Read USGS discharge records in any of the agency's formats."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from pipeline.catalog.models import Catalog
from pipeline.errors import InputError
from pipeline.gauges.formats.csv_table import read_csv
from pipeline.gauges.formats.nwis_json import read_nwis_json
from pipeline.gauges.formats.rdb import read_rdb
from pipeline.gauges.formats.waterdata import read_waterdata
from pipeline.gauges.formats.waterml import read_waterml
from pipeline.gauges.record import GaugeRecord, Row, listed, make_record, site_number

READERS: dict[str, Callable[[Catalog, Path], Iterable[Row]]] = {
    "rdb": read_rdb,
    "csv": read_csv,
    "json": read_nwis_json,
    "waterml": read_waterml,
    "waterdata": read_waterdata,
}
VALUES = {"daily": "daily means", "instantaneous": "instantaneous values"}


def read_gauges(catalog: Catalog, sites: Sequence[str]) -> dict[str, GaugeRecord]:
    """Read the discharge records of some sites.

    Args:
        catalog: describes the files, their format and units.
        sites: site numbers.

    Returns:
        By site number, in the order of `sites`.

    Raises:
        InputError: a file or a site is missing; a column, time, value or unit contradicts the
            catalog; a site has several series and the catalog selects none; or one day or instant
            has two values.
    """
    gauges = catalog.gauges
    wanted = [site_number(site) for site in sites]
    paths = {site: catalog.resolve(gauges.files.replace("{site}", site)) for site in wanted}
    records: dict[str, GaugeRecord] = {}
    for path in dict.fromkeys(paths.values()):  # one file at a time, as rows are many
        here = [site for site in wanted if paths[site] == path]
        rows = _by_site(READERS[gauges.format](catalog, path), set(here))
        missing = [site for site in here if site not in rows]
        if missing:
            raise InputError(
                f"{path}: holds {listed(rows)}: expected a record of {', '.join(missing)}, "
                f"{VALUES[gauges.values]} of discharge"
            )
        for site in here:
            records[site] = make_record(catalog, site, rows.pop(site), path)
    return {site: records[site] for site in wanted}


def _by_site(rows: Iterable[Row], wanted: set[str]) -> dict[str, list[Row]]:
    """Group rows by site; other sites than those wanted get an empty list."""
    sites: dict[str, list[Row]] = {}
    for row in rows:
        held = sites.setdefault(row.site_no, [])
        if row.site_no in wanted:
            held.append(row)
    return sites
