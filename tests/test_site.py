"""The documentation site: built without a warning, whole, and without a request to anywhere."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import typer
from lxml import html
from typer.core import TyperGroup

import model
import pipeline
from model.command_line import app
from model.settings import Settings
from pipeline.catalog.schema import schema_text
from tests.conftest import BuildOnce
from tests.pipeline.live.browser import open_tab

ROOT = Path(__file__).resolve().parent.parent
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
PHONE = 390  # pixels
# What a browser loads by itself; a link that a reader may click is not among them.
LOADED = "//script/@src | //img/@src | //iframe/@src | //source/@src | //link/@href"
IN_CSS = re.compile(r"url\(\s*['\"]?([^'\")]+)|@import\s+['\"]([^'\"]+)")


@pytest.fixture(scope="module")
def site(build_once: BuildOnce) -> Path:
    """Folder of the built site."""

    def build(folder: Path) -> None:
        command = [sys.executable, "-m", "sphinx", "--fail-on-warning", "--keep-going", "--quiet"]
        command += ["-c", "docs/site", "-d", f"{folder}/trees", ".", f"{folder}/site"]
        done = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, timeout=280, check=False
        )
        assert (done.returncode, done.stderr) == (0, ""), done.stderr

    return build_once("site", build) / "site"


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, html.HtmlElement]:
    """Every page of the site, parsed."""
    return {path: html.parse(path).getroot() for path in sorted(site.rglob("*.html"))}


def test_every_page_of_the_repository_is_there(site, pages):
    sources = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("docs/*.ipynb")]
    built = {path.relative_to(site).with_suffix("") for path in pages}
    assert {source.relative_to(ROOT).with_suffix("") for source in sources} <= built
    assert len(sources) > 30


def test_internal_links_and_anchors_resolve(site, pages):
    ids = {path: set(page.xpath("//@id")) for path, page in pages.items()}
    count = 0
    for path, page in pages.items():
        for link in page.xpath("//a/@href | //img/@src | //link/@href | //script/@src"):
            parts = urlsplit(link)
            if parts.scheme:
                continue
            count += 1
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            assert target.is_file(), f"{path.relative_to(site)}: {link}"
            if parts.fragment and target in ids:
                assert unquote(parts.fragment) in ids[target], f"{path.relative_to(site)}: {link}"
    assert count > 1000


def test_nothing_is_loaded_from_elsewhere(site, pages):
    loaded = [(path, link) for path, page in pages.items() for link in page.xpath(LOADED)]
    styles = [
        (path, style)
        for path, page in pages.items()
        for style in page.xpath("//style/text() | //@style")
    ]
    styles += [(path, path.read_text()) for path in site.rglob("*.css")]
    loaded += [
        (path, one or other) for path, style in styles for one, other in IN_CSS.findall(style)
    ]
    assert len(loaded) > 100
    elsewhere = [
        (path.relative_to(site), link) for path, link in loaded
        if urlsplit(link).netloc or urlsplit(link).scheme not in ("", "data")
    ]  # fmt: skip
    assert not elsewhere


def test_the_search_index_knows_every_page(site, pages):
    text = (site / "searchindex.js").read_text()
    index = json.loads(text.removeprefix("Search.setIndex(").removesuffix(")"))
    assert {"README", "docs/science", "docs/tutorial", "docs/commands"} <= set(index["docnames"])
    assert "coverag" in index["terms"]  # stemmed


def codes_of(pages: dict[Path, html.HtmlElement], site: Path, name: str) -> set[str]:
    return {one.text_content() for one in pages[site / f"docs/{name}.html"].xpath("//td//code")}


def test_the_reference_is_complete(site, pages):
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    for name, command in group.commands.items():
        (section,) = pages[site / "docs/commands.html"].xpath(f"//section[@id='domst-{name}']")
        shown = {one.text_content() for one in section.xpath(".//td//code")}
        options = {word for one in command.params for word in (*one.opts, *one.secondary_opts)}
        assert {word for word in options if word.startswith("--")} <= shown, name
        text = " ".join(section.text_content().split())
        context = typer.Context(command, info_name=name)
        meanings = [record[1] for one in command.params if (record := one.get_help_record(context))]
        for meaning in [command.help or "", command.epilog or "", *meanings]:
            assert " ".join(meaning.replace("`", "").split()) in text, name

    schema = json.loads(schema_text())
    keys = codes_of(pages, site, "catalog_keys")
    for part in (schema, *schema["$defs"].values()):
        assert set(part["properties"]) <= keys
    assert set(Settings.model_fields) <= codes_of(pages, site, "settings")

    ids = set(pages[site / "docs/python_api.html"].xpath("//dt/@id"))
    for package in (pipeline, model):
        assert {f"{package.__name__}.{name}" for name in package.__all__} <= ids


def test_equations_are_mathml(site, pages):
    science = pages[site / "docs/science.html"]
    fractions = science.xpath("//*[local-name()='math']//*[local-name()='mfrac']")
    assert len(fractions) > 10
    assert "$" not in science.xpath("string(//article)")


def test_the_tutorial_shows_its_outputs(site, pages):
    tutorial = pages[site / "docs/tutorial.html"]
    assert len(tutorial.xpath("//div[contains(@class, 'cell_output')]//img")) == 3
    assert tutorial.xpath("//div[contains(@class, 'xr-wrap')]")


@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")
def test_pages_fit_a_phone_and_work_offline(site, pages, tmp_path):
    """No page scrolls sideways, none asks another host or fails a script."""

    async def look() -> dict[str, int]:
        assert CHROMIUM is not None
        async with open_tab(CHROMIUM, tmp_path / "profile", width=PHONE, height=800) as tab:
            widths: dict[str, int] = {}
            for path in pages:
                await tab.call("Page.navigate", url=path.as_uri())
                await tab.wait_for("document.URL", path.as_uri())
                await tab.wait_for("document.readyState", "complete")
                widths[path.name] = await tab.evaluate("document.documentElement.scrollWidth")
            assert not tab.errors, tab.errors
            assert not tab.hosts
            return widths

    widths = asyncio.run(look())
    assert len(widths) > 30
    assert not {name: width for name, width in widths.items() if width > PHONE}
