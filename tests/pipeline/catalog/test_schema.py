"""The published schema against an independent validator, and messages about keys and values."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from typer.testing import CliRunner

from pipeline.__main__ import app
from pipeline.catalog.models import load_catalog
from pipeline.errors import InputError

ROOT = Path(__file__).resolve().parents[3]
PUBLISHED = ROOT / "docs/catalog.schema.json"
SHIPPED = sorted((ROOT / "catalogs").glob("*.yaml"))


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    return json.loads(PUBLISHED.read_text())


def as_json(path: Path) -> Any:
    """A catalog as an editor's YAML library reads it: dates are texts."""
    return yaml.load(path.read_text(), yaml.BaseLoader)  # noqa: S506, it makes texts alone


def errors(schema: dict[str, Any], catalog: Any) -> list[str]:
    validator = jsonschema.Draft202012Validator(schema)
    validator.check_schema(schema)
    return [error.json_path for error in validator.iter_errors(catalog)]


def typed(value: Any) -> Any:
    """Texts of numbers and truth values as such, which the loader of texts leaves alone."""
    if isinstance(value, dict):
        return {key: typed(item) for key, item in value.items()}
    if isinstance(value, list):
        return [item if isinstance(item, str) else typed(item) for item in value]
    try:
        return json.loads(value)
    except ValueError:
        return value


def test_published_schema_is_current():
    shown = CliRunner().invoke(app, ["schema"])
    assert shown.exit_code == 0
    assert PUBLISHED.read_text() == shown.stdout, "run: domst schema > docs/catalog.schema.json"


def test_every_key_is_described(schema):
    def keys(part: Any) -> Iterator[tuple[str, Any]]:
        yield from part.get("properties", {}).items()
        for one in part.get("$defs", {}).values():
            yield from keys(one)

    found = list(keys(schema))
    assert len(found) > 60
    assert [name for name, key in found if not key.get("description")] == []


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_shipped_catalogs_fit_the_schema_they_name(path, schema):
    first = path.read_text().splitlines()[0]
    named = first.removeprefix("# yaml-language-server: $schema=")
    assert (path.parent / named).resolve() == PUBLISHED
    assert errors(schema, typed(as_json(path))) == []


def test_sample_fits_the_schema(tiny_sample, schema):
    assert errors(schema, typed(as_json(tiny_sample / "catalog.yaml"))) == []


@pytest.mark.parametrize(
    ("old", "new", "at"),
    [
        ("units: mm", "unit: mm", "$.forcings.precipitation"),
        ("driver: geotiff", "driver: geotif", "$.forcings.precipitation.driver"),
        ("step: day", "step: week", "$.period.step"),
        ("site_field: SITE_NO", "site_field: [SITE_NO]", "$.watersheds.site_field"),
    ],
)
def test_schema_finds_what_is_wrong(tiny_sample, schema, old, new, at, tmp_path):
    spoilt = tmp_path / "catalog.yaml"
    text = (tiny_sample / "catalog.yaml").read_text()
    assert old in text
    spoilt.write_text(text.replace(old, new, 1))
    assert at in errors(schema, typed(as_json(spoilt)))


@pytest.mark.parametrize(
    ("old", "new", "fragments"),
    [
        ("units: mm", "unit: mm", ["precipitation.unit: unknown key", "did you mean units?"]),
        ("driver: geotiff", "Driver: geotiff", ["precipitation.Driver", "did you mean driver?"]),
        ("offset: 6h", "ofset: 6h", ["time.ofset: unknown", "label, offset; did you mean offset?"]),
        ("synthetic: true", "site_field: a", ["did you mean watersheds.site_field?"]),
        ("synthetic: true", "place_by: axes", ["did you mean forcings.<name>.place_by?"]),
        ("synthetic: true", "zzz: 1", ["zzz: unknown key: expected one of title, synthetic"]),
        ("units: mm", "units: mm\n    crs: EPSG:99999", ["precipitation.crs: 'EPSG:99999'"]),
        ("units: mm", "units: millibar", ["forcings.precipitation.units: 'millibar'"]),
    ],
)  # fmt: skip
def test_messages_name_the_key_that_was_meant(tiny_sample, tmp_path, old, new, fragments):
    spoilt = tmp_path / "catalog.yaml"
    text = (tiny_sample / "catalog.yaml").read_text()
    assert old in text
    spoilt.write_text(text.replace(old, new, 1))
    with pytest.raises(InputError) as raised:
        load_catalog(spoilt)
    for fragment in (str(spoilt), "expected", *fragments):
        assert fragment in str(raised.value)


def test_swapped_dates_are_named(tiny_sample, tmp_path):
    spoilt = tmp_path / "catalog.yaml"
    text = (tiny_sample / "catalog.yaml").read_text()
    spoilt.write_text(
        text.replace("start:", "END:").replace("end:", "start:").replace("END", "end")
    )
    with pytest.raises(InputError, match=r"period: starts at .*, after its end .*swapped"):
        load_catalog(spoilt)
