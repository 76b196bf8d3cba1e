"""Verify a store: each check is a line with a status and the numbers behind it.

FAIL means that the store contradicts itself, its raw files or the laws of nature; WARN that
something deserves a look. Blocks are read one at a time, so memory does not grow with the record.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipeline.catalog.models import PRECIPITATION
from pipeline.check.climate import check_climate
from pipeline.check.contents import Check, Contents, open_contents, verdict
from pipeline.check.fields import check_coverage, check_flow_distance, check_forcing
from pipeline.check.reference import compare_with_raw
from pipeline.check.structure import check_blocks, check_static, check_template, check_time
from pipeline.check.water_balance import check_discharge, check_response, check_water_balance
from pipeline.errors import InputError
from pipeline.storage import Location
from pipeline.store.root import attributes_of, open_root


def check_store(path: Location) -> list[Check]:
    """Verify a store; checks that an earlier failure makes meaningless are left out.

    Raises:
        InputError: there is no store at `path`, or its catalog is not valid any more.
    """
    checks: list[Check] = []
    rain: dict[str, np.ndarray] = {}
    store = open_contents(path)
    try:
        with np.errstate(all="ignore"):  # damaged numbers are for the checks to judge
            checks.append(check_static(store))
            checks.append(check_template(store))
            if checks[-1].status == "FAIL":
                return checks
            checks += [check_blocks(store), check_time(store)]
            checks += [check_coverage(store), check_flow_distance(store)]
            if checks[2].status == "FAIL":
                return checks
            for name in store.catalog.forcings:
                check, means = check_forcing(store, name)
                checks.append(check)
                rain = means if name == PRECIPITATION else rain
            checks += [_raw(store), check_climate(store, rain), check_water_balance(store, rain)]
            checks += [check_response(store, rain), check_discharge(store)]
    except (OSError, RuntimeError, LookupError, ValueError) as error:  # lost or damaged parts
        checks.append(Check("readable", "FAIL", f"after {checks[-1].name}: {error}"))
    return checks


def summarise_checks(path: Location, checks: list[Check]) -> dict[str, Any]:
    """Return the checks as plain values, with the names of those that failed."""
    return {
        "store": str(path),
        "synthetic": bool(attributes_of(open_root(path)).get("synthetic")),
        "failed": [check.name for check in checks if check.status == "FAIL"],
        "checks": [asdict(check) for check in checks],
    }


def print_checks(path: Location, checks: list[Check], console: Console | None = None) -> None:
    """Print the checks as a table."""
    colour = {"PASS": "green", "WARN": "yellow", "FAIL": "bold red"}
    synthetic = " (synthetic data)" if attributes_of(open_root(path)).get("synthetic") else ""
    table = Table(title=Text(f"{path}{synthetic}"), title_justify="left")
    for heading in ("check", "", "numbers"):
        table.add_column(heading, overflow="fold")
    for check in checks:
        status = f"[{colour[check.status]}]{check.status}[/]"
        table.add_row(Text(check.name), status, Text(check.detail))
    (console or Console()).print(table)


def _raw(store: Contents) -> Check:
    """Check a few steps against a second implementation, from the raw files."""
    name = "conservation"
    catalog = attributes_of(store.root)["provenance"]["catalog"]
    path = Path(catalog["path"])
    try:
        worst = compare_with_raw(store.root, path, catalog["sha256"])
    except InputError as error:
        return Check(name, "WARN", f"raw files are not compared: {error}")
    details = [
        f"{w.forcing}: {w.steps} steps, total within {w.total:.1e}, "
        f"cells within {w.cell:.1e} {w.units}{w.misplaced and f'; {w.misplaced}'}"
        for w in worst
    ]
    fails = [detail for w, detail in zip(worst, details, strict=True) if not w.within_tolerance]
    return verdict(name, fails, [], "; ".join(details))
