"""The examples in the docstrings of the public API, each of which runs."""

from __future__ import annotations

import doctest
import inspect
import sys
from pathlib import Path

import pytest

import model
import pipeline
from pipeline.store.read import list_sites

PUBLIC = [(package, name) for package in (pipeline, model) for name in package.__all__]
FLAGS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS


@pytest.mark.parametrize(
    ("package", "name"), PUBLIC, ids=[f"{package.__name__}.{name}" for package, name in PUBLIC]
)
def test_examples_print_what_they_say(
    package: object,
    name: str,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Examples may use a catalog, its store, a run, one of their sites and a folder to be made."""
    public = getattr(package, name)
    tests = [one for one in doctest.DocTestFinder().find(public, name) if one.examples]
    if inspect.isfunction(public):
        assert tests, f"{name}: a public function without an example"
    source = "".join(example.source for test in tests for example in test.examples)
    names: dict[str, object] = {"folder": tmp_path / "folder"}
    if "catalog" in source:
        names["catalog"] = request.getfixturevalue("tiny_sample") / "catalog.yaml"
    if "store" in source or "run" in source:
        store: Path = request.getfixturevalue("tiny_store")
        names |= {"store": store, "site_no": list_sites(store)[0]}
    if "run" in source:
        names["run"] = request.getfixturevalue("tiny_run")
    for test in tests:
        test.globs = {**vars(sys.modules[public.__module__]), **names}
        failed = doctest.DocTestRunner(optionflags=FLAGS).run(test, out=print)[0]
        assert not failed, capsys.readouterr().out
