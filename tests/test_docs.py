"""README and docs: length, links, and names of files, modules, anchors and options that exist."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import io
import os
import re
import subprocess
import sys
import textwrap
import tomllib
from pathlib import Path

import pytest
import typer
import yaml
from typer.core import TyperGroup

from model.command_line import app
from pipeline import errors
from pipeline.catalog.checks import Checks
from pipeline.catalog.gauge_source import Gauges
from pipeline.catalog.models import Catalog, Terrain, load_catalog
from pipeline.catalog.raster_source import RasterSource
from pipeline.catalog.time import Period
from pipeline.catalog.watershed_source import Watersheds

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
LINK = re.compile(r"\]\(([^)\s]+)\)")
MODULE = re.compile(r"python -m ((?:pipeline|model|benchmarks)[\w.]*)")
FILE = re.compile(
    r"(?<![\w./$-])((?:pipeline|model|benchmarks|tests|docs|catalogs)/[\w/.-]*\w/?)(?![\w/{*])"
)
COMMAND = re.compile(r"domst ([a-z]+)")
OPTION = re.compile(r"(?<![-\w])(--[a-z][a-z-]+)")
OTHER_PROGRAMS = re.compile(
    r"^.*(?:dask|docker|chromium|pip |make |rio |gdalinfo|benchmarks\.|tests\.).*$", re.MULTILINE
)
PUBLIC = re.compile(r"\b(pipeline|model)\.(\w+)\(")
YAML_BLOCK = re.compile(r"^```yaml\n(.*?)^```", re.MULTILINE | re.DOTALL)


def anchors(page: Path) -> set[str]:
    """Anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-") for text in headings}


def by_name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def test_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 120


@pytest.mark.parametrize("page", PAGES, ids=by_name)
def test_links_lead_somewhere(page):
    for link in LINK.findall(page.read_text()):
        if link.startswith(("http:", "https:")):
            continue
        place, _, anchor = link.partition("#")
        target = (page.parent / place).resolve() if place else page
        assert target.exists(), f"{by_name(page)}: {link}"
        assert not anchor or anchor in anchors(target), f"{by_name(page)}: {link}"


@pytest.mark.parametrize("page", PAGES, ids=by_name)
def test_modules_and_files_exist(page):
    text = page.read_text()
    for name in MODULE.findall(text):
        assert importlib.util.find_spec(name.rstrip(".")), f"{by_name(page)}: python -m {name}"
    for name in FILE.findall(text):
        assert (ROOT / name).exists(), f"{by_name(page)}: {name}"


@pytest.mark.parametrize("page", PAGES, ids=by_name)
def test_public_names_exist(page):
    for package, name in set(PUBLIC.findall(page.read_text())):
        assert hasattr(importlib.import_module(package), name), f"{by_name(page)}: {package}.{name}"


@pytest.mark.parametrize("page", PAGES, ids=by_name)
def test_commands_and_options_exist(page):
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    commands = (group, *group.commands.values())
    options = [one for command in commands for one in command.params]
    known = {name for one in options for name in (*one.opts, *one.secondary_opts)}
    text = OTHER_PROGRAMS.sub("", page.read_text())
    assert set(COMMAND.findall(text)) <= set(group.commands)
    assert set(OPTION.findall(text)) <= known | {
        "--help", "--memory-limit", "--host", "--interface"
    }  # fmt: skip


def test_every_page_is_in_the_index():
    index = ROOT / "docs/index.md"
    linked = {(index.parent / link).resolve() for link in LINK.findall(index.read_text())}
    assert set(PAGES) <= linked | {index}


def test_pictures_are_small_and_used():
    texts = [page.read_text() for page in PAGES]
    for picture in (ROOT / "docs/images").iterdir():
        assert picture.stat().st_size < 200_000, picture.name
        assert any(f"images/{picture.name})" in text for text in texts), picture.name


@pytest.mark.parametrize(
    ("schema", "files"),
    [
        ("citation-file-format", "CITATION.cff"),
        ("github-issue-forms", ".github/ISSUE_TEMPLATE/[!c]*.yml"),
        ("github-issue-config", ".github/ISSUE_TEMPLATE/config.yml"),
    ],
)
def test_files_for_the_code_host_follow_their_schemas(schema, files):
    paths = [str(path) for path in ROOT.glob(files)]
    assert paths
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", f"vendor.{schema}"]
    done = subprocess.run([*command, *paths], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_citation_is_of_this_version():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == project["version"]
    assert citation["license"] == project["license"]
    assert [one["name"] for one in citation["authors"]] == [
        one["name"] for one in project["authors"]
    ]


def test_exit_codes_are_those_of_the_program():
    """The tables of docs/scheduling.md and docs/running.md hold every code, and no other."""
    codes = {code for name, code in vars(errors).items() if name.startswith("EXIT_")}
    for page in ("scheduling", "running"):
        text = (ROOT / f"docs/{page}.md").read_text()
        section = text.partition("\n## Exit codes\n")[2].partition("\n## ")[0]
        first = re.findall(r"^\| ([\d, ]+) \|", section, re.MULTILINE)
        assert {int(code) for cell in first for code in cell.split(",")} == {0, *codes}, page


@pytest.mark.parametrize(
    ("codes", "called", "code"),
    [
        ({}, ["fetch", "run", "check", "predict"], 0),
        ({"fetch": 1}, ["fetch"] * 3, 1),
        ({"run": 2}, ["fetch", "run"], 2),
        ({"run": 143}, ["fetch", "run"], 143),
        ({"check": 1}, ["fetch", "run", "check"], 1),
        ({"predict": 1}, ["fetch", "run", "check", *["predict"] * 3], 1),
    ],
    ids=str,
)
def test_the_nightly_script_tries_again_what_may_pass(tmp_path, codes, called, code):
    """The script of docs/scheduling.md, with programs in place of domst and sleep."""
    page = (ROOT / "docs/scheduling.md").read_text()
    (script,) = re.findall(r"^```bash\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    (tmp_path / "nightly.sh").write_text(script)
    (tmp_path / "basins.yaml.in").write_text("period: {end: @END@}\n")
    cases = "".join(f"{name}) exit {code};; " for name, code in codes.items())
    for name, text in {
        "domst": f'echo "$1" >> calls.txt; case "$1" in {cases} esac',
        "sleep": 'echo "$1" >> pauses.txt',
    }.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "FLOOD": str(tmp_path)}
    done = subprocess.run(
        ["bash", "nightly.sh", "2026-11-27T12:00:00Z"], cwd=tmp_path, env=environment, check=False
    )
    assert (tmp_path / "calls.txt").read_text().split() == called
    assert done.returncode == code
    assert (tmp_path / "basins.yaml").read_text() == "period: {end: 2026-11-27T12:00:00Z}\n"
    pauses = (tmp_path / "pauses.txt").read_text().split() if len(set(called)) < len(called) else []
    assert pauses in ([], ["600", "3600"])


@pytest.mark.parametrize("page", ["README.md", "docs/catalog.md"])
def test_whole_catalogs_load(page, tmp_path, monkeypatch):
    monkeypatch.setenv("DOMST_DATA", str(tmp_path))
    (block,) = YAML_BLOCK.findall((ROOT / page).read_text())
    (tmp_path / "catalog.yaml").write_text(block)
    assert load_catalog(tmp_path / "catalog.yaml").title


def test_example_sources_fit_a_catalog(tmp_path):
    whole = yaml.safe_load(YAML_BLOCK.findall((ROOT / "docs/catalog.md").read_text())[0])
    for block in YAML_BLOCK.findall((ROOT / "docs/rasters.md").read_text()):
        (tmp_path / "catalog.yaml").write_text(
            yaml.safe_dump(whole | {"forcings": yaml.safe_load(block)})
        )
        assert load_catalog(tmp_path / "catalog.yaml").forcings


def test_worked_example_of_time():
    """docs/time.md prints what its code prints."""
    text = (ROOT / "docs/time.md").read_text()
    code, shown = re.findall(r"^```python\n(.*?)^```\n\n((?:    [^\n]*\n)+)", text, re.M | re.S)[0]
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(code, {})
    assert printed.getvalue() == textwrap.dedent(shown)


@pytest.mark.parametrize(
    ("section", "model"),
    [
        ("Top level", Catalog),
        ("`period`", Period),
        ("`forcings.<name>`", RasterSource),
        ("`gauges`", Gauges),
        ("`watersheds`", Watersheds),
        ("`terrain`", Terrain),
        ("`checks`", Checks),
    ],
)
def test_every_key_of_a_catalog_is_in_its_page(section, model):
    text = (ROOT / "docs/catalog.md").read_text()
    rows = text.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    keys = {
        key
        for row in re.findall(r"^\| (`.+?`) \|", rows, re.MULTILINE)
        for key in re.findall(r"`(\w+)", row)
    }
    assert keys == set(model.model_fields)
