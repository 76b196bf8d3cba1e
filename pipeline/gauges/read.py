"""Read discharge records: tables, and the formats of the USGS."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from pipeline.catalog.models import Catalog
from pipeline.errors import InputError
from pipeline.gauges.formats.csv_table import read_csv
from pipeline.gauges.formats.nwis_json import read_nwis_json
from pipeline.gauges.formats.rdb import read_rdb
from pipeline.gauges.formats.waterdata import read_waterdata
from pipeline.gauges.formats.waterml import read_waterml
from pipeline.gauges.record import GaugeRecord, RecordFile, listed
from pipeline.gauges.rows import Rows, Texts, gather
from pipeline.gauges.site_numbers import site_number

READERS: dict[str, Callable[[Catalog, Path], Rows]] = {
    "rdb": read_rdb,
    "csv": read_csv,
    "json": partial(gather, read_nwis_json),
    "waterml": partial(gather, read_waterml),
    "waterdata": partial(gather, read_waterdata),
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
            catalog; a site's number is spelled in several ways; a site has several series and the
            catalog selects none; one day or instant has two values; or a number looks like a code
            for no value that the catalog does not name.
    """
    gauges = catalog.gauges
    wanted = [site_number(site, catalog.usgs) for site in sites]
    by_path: dict[Path, list[str]] = {}
    for site in wanted:
        by_path.setdefault(catalog.resolve(gauges.files.replace("{site}", site)), []).append(site)
    records: dict[str, GaugeRecord] = {}
    for path, here in by_path.items():  # one file at a time, as rows are many
        rows = READERS[gauges.format](catalog, path)
        if gauges.columns is not None and gauges.columns.site is None:
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
            records[site] = file.record(site)
    return {site: records[site] for site in wanted}
