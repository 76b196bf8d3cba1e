"""A catalog that fetches from the replay server, and what a test asks of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from typer.testing import CliRunner, Result

from pipeline.__main__ import app
from pipeline.catalog.fetch import Fetch
from pipeline.catalog.models import Catalog, load_catalog
from pipeline.fetch import services
from pipeline.fetch.manifest import MANIFEST
from tests.pipeline.fetch.replay import SITE, Replay

CATALOGS = Path(__file__).parents[3] / "catalogs"
PRISM = {"service": "prism", "variable": "ppt"}
ONLY_RAIN: dict[str, Any] = {"forcings": {"precipitation": PRISM}}
PRISM_DAYS: dict[str, Any] = {
    "driver": "geotiff",
    "files": "prism/ppt_{time:%Y%m%d}.tif",
    "units": "mm",
    "time": {"label": "end", "offset": "12h"},
}


@dataclass
class Job:
    """A catalog and its folder."""

    folder: Path
    replay: Replay

    @property
    def catalog(self) -> Path:
        return self.folder / "catalog.yaml"

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def write(self, **changes: Any) -> None:
        """The catalog of one site and six PRISM days, with some top-level keys replaced."""
        settings: dict[str, Any] = {
            "title": "One creek",
            "root": "data",
            "period": {
                "step": "day",
                "start": "2025-12-19T12:00:00Z",
                "end": "2025-12-25T12:00:00Z",
            },
            "forcings": {"precipitation": PRISM_DAYS},
            "gauges": {
                "format": "csv",
                "files": "gauges/{site}.csv",
                "units": "ft3/s",
                "time": {"label": "start", "offset": "6h"},
                "columns": {"flag": "flag"},
            },
            "watersheds": {
                "file": "watersheds/watersheds.gpkg",
                "site_field": "SITE_NO",
                "name_field": "NAME",
                "area_field": "DRAINAGE",
                "area_units": "mi2",
                "sites": [SITE],
            },
            "fetch": {"gauges": "waterdata", "watersheds": "nldi", **ONLY_RAIN},
            **changes,
        }
        fetch = {"retries": 2, "timeout": 10, **settings["fetch"]}
        if "services" not in fetch:
            try:
                used = sorted(Fetch(**fetch).used)
            except ValueError:
                used = []  # a catalog that is to be refused
            fetch["services"] = {name: {"url": self.url(name), "pause": 0} for name in used}
        self.folder.mkdir(exist_ok=True)
        self.catalog.write_text(yaml.safe_dump({**settings, "fetch": fetch}))

    def write_shipped(self, name: str, period: dict[str, Any]) -> None:
        """A catalog of `catalogs/` for the one site and another period."""
        settings = yaml.safe_load((CATALOGS / f"{name}.yaml").read_text())
        settings["watersheds"]["sites"] = [SITE]
        self.write(**settings | {"root": "data", "period": period})

    def draft(self) -> Catalog:
        """The catalog that `init` drafts of what was fetched."""
        path = self.folder / "draft.yaml"
        done = CliRunner().invoke(app, ["init", str(self.data), "--out", str(path)])
        assert done.exit_code == 0, (done.output, done.exception)
        return load_catalog(path)

    def url(self, service: str) -> str:
        assert service in services.SERVICES
        return self.replay.url if service == "waterdata" else f"{self.replay.url}/{service}"

    def fetch(self, *options: str) -> Result:
        return CliRunner().invoke(app, ["fetch", str(self.catalog), *options])

    def files(self) -> dict[str, bytes]:
        """Everything under the catalog's root but the manifests."""
        found = sorted(path for path in self.data.rglob("*") if path.is_file())
        return {
            path.relative_to(self.data).as_posix(): path.read_bytes()
            for path in found
            if path.name != MANIFEST
        }


def require_one_line(result: Result, code: int, *fragments: object) -> None:
    """An exit code, and nothing on stderr but one line that holds the fragments."""
    assert result.exit_code == code, (result.output, result.exception)
    assert isinstance(result.exception, SystemExit)
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    for fragment in fragments:
        assert str(fragment) in line, line
