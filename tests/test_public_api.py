"""The packages as libraries: what `import pipeline` and `import model` offer, and the command."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from importlib.metadata import entry_points, version
from pathlib import Path

import pytest
from typer.testing import CliRunner

import model
import pipeline
from model.command_line import app

PACKAGES = (pipeline, model)


@pytest.mark.parametrize("package", PACKAGES, ids=lambda one: one.__name__)
def test_every_public_name_is_there_and_documented(package):
    for name in package.__all__:
        found = getattr(package, name)
        assert inspect.getdoc(found), name
        assert name in dir(package)
        assert name in package.__doc__, name
    with pytest.raises(AttributeError, match="nonsense"):
        _ = package.nonsense


def run_python(code: str, folder: Path) -> str:
    """Run code in a fresh interpreter and return what it prints."""
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_public_function_wins_over_the_module_of_its_name(tmp_path):
    code = (
        "import sys; import model, model.train, model.predict, pipeline.regrid.grid; "
        "from model.train import main; "
        "print(callable(model.train), callable(model.predict), callable(pipeline.regrid), "
        "pipeline.regrid.__name__, model.train.__module__)"
    )
    assert run_python(code, tmp_path) == "True True True regrid model.jobs.train"


def test_importing_the_packages_imports_nothing_heavy(tmp_path):
    code = (
        "import sys; import model, pipeline, pipeline.errors, model.settings; "
        "print(sorted({'torch', 'dask', 'distributed', 'xarray', 'numpy'} & set(sys.modules)))"
    )
    assert run_python(code, tmp_path) == "[]"


def test_the_command_has_every_command():
    done = CliRunner().invoke(app, ["--help"])
    assert done.exit_code == 0
    for name in ("plan", "run", "check", "export", "fetch", "sample", "train", "predict"):
        assert f" {name} " in done.output
        assert CliRunner().invoke(app, [name, "--help"]).exit_code == 0


def test_the_command_says_its_version():
    done = CliRunner().invoke(app, ["--version"])
    assert (done.exit_code, done.output) == (0, f"dom-st {version('dom-st')}\n")


def test_the_command_is_installed():
    (script,) = entry_points(group="console_scripts", name="domst")
    assert script.value == "model.command_line:main"


def test_a_file_of_the_users_named_model_breaks_nothing(tiny_store, tmp_path):
    """Neither the command nor the processes that it starts import from the working directory."""
    for name in ("model.py", "pipeline.py", "numpy.py"):
        (tmp_path / name).write_text("raise SystemExit('imported from the working directory')\n")
    script = Path(sys.executable).parent / "domst"
    command = [script, "train", tiny_store, "--run", "run", "--updates", "2", "--workers", "2"]
    environment = {name: text for name, text in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [*map(str, command), "--cluster", "cpu"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    assert "median" in done.stdout
