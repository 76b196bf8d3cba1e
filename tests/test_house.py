"""The repository: rules of import, pins, the CUDA extra, and which files it may hold."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parent.parent
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]

# ------------------------------------------------------------------ rules of import


def lint_imports(folder: Path) -> str:
    """What import-linter says of the packages in a folder."""
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as c; c()"]
    done = subprocess.run(
        [*command, "--no-cache"],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout


@pytest.mark.parametrize(
    ("file", "imported", "broken"),
    [
        ("pipeline/store/read.py", "pipeline.run.plan", "pipeline.store is not allowed to import"),
        ("pipeline/units.py", "model.settings", "pipeline is not allowed to import model"),
        ("model/network/lstm.py", "model.inputs.soil", "model.network is not allowed to import"),
        ("model/train.py", "tests.house", "model is not allowed to import tests"),
        ("pipeline/regrid/grid.py", "pipeline.regrid.separable", "No cycles are allowed in"),
        ("pipeline/extra.py", "os", "pipeline.extra"),
    ],
)
def test_the_rules_of_import_notice_a_breach(tmp_path, file, imported, broken):
    for name in ("pipeline", "model", "benchmarks"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    with (tmp_path / file).open("a") as source:
        source.write(f"\n\ndef late():\n    import {imported}\n")
    assert broken in lint_imports(tmp_path)


# ------------------------------------------------------------------ pins


def pins() -> dict[str, str]:
    """constraints.txt as canonical name -> version; every line must be a plain `name==version`."""
    found: dict[str, str] = {}
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        if line.startswith("#"):
            continue
        match = re.fullmatch(r"([A-Za-z0-9._-]+)==([A-Za-z0-9.!]+)", line)
        assert match, f"constraints.txt: {line!r} is not a plain name==version"
        name = canonicalize_name(match[1])
        assert name not in found, f"constraints.txt pins {name} twice"
        found[name] = match[2]
    return found


def needed(requirement: Requirement) -> Iterator[Requirement]:
    """What an installed requirement asks for in turn, its extras among them, on this platform."""
    for text in metadata.requires(requirement.name) or []:
        child = Requirement(text)
        extras = requirement.extras or {""}
        if child.marker is None or any(child.marker.evaluate({"extra": e}) for e in extras):
            yield child


def closure(requirements: list[str]) -> dict[str, Requirement]:
    """Everything that an install of these requirements brings, by canonical name."""
    seen: dict[tuple[str, frozenset[str]], Requirement] = {}
    queue = [Requirement(text) for text in requirements]
    while queue:
        requirement = queue.pop()
        key = (canonicalize_name(requirement.name), frozenset(requirement.extras))
        if key not in seen:
            seen[key] = requirement
            queue += needed(requirement)
    return {name: requirement for (name, _), requirement in seen.items()}


def test_everything_installed_is_pinned_and_at_its_pin():
    wanted, installed = pins(), {}
    for name in closure(PROJECT["dependencies"] + EXTRAS["test"]):
        installed[name] = Version(metadata.version(name)).public  # without a build tag (+cpu)
    assert installed == {name: wanted.get(name) for name in installed}


def test_every_direct_requirement_accepts_its_pin():
    wanted = pins()
    for text in PROJECT["dependencies"] + [line for extra in EXTRAS.values() for line in extra]:
        requirement = Requirement(text)
        assert requirement.specifier.contains(wanted[canonicalize_name(requirement.name)]), text


def test_tested_versions():
    assert pins()["torch"] == "2.13.0"
    assert pins()["dask"] == pins()["distributed"] == "2026.7.1"


# ------------------------------------------------------------------ the CUDA extra

NO_INDEX = re.compile(
    r"NewConnectionError|ConnectTimeoutError|ReadTimeoutError|ProxyError|NameResolutionError"
    r"|Failed to establish a new connection|Temporary failure in name resolution"
)


def resolve(requirement: str, folder: Path) -> dict[str, dict[str, Any]]:
    """Metadata of what pip would install into this environment, by canonical name."""
    report = folder / "report.json"
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--quiet", "--retries", "1"]
    command += ["--timeout", "20", "--disable-pip-version-check", "--report", str(report)]
    command += ["--constraint", str(ROOT / "constraints.txt"), requirement]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=240, stdin=subprocess.DEVNULL, check=False
    )
    if done.returncode and NO_INDEX.search(done.stderr):
        reason = f"no package index within reach, so {requirement} cannot be resolved"
        if os.environ.get("CI"):
            pytest.fail(f"{reason}:\n{done.stderr}")
        pytest.skip(reason)
    assert done.returncode == 0, done.stderr
    found = [item["metadata"] for item in json.loads(report.read_text())["install"]]
    return {canonicalize_name(item["name"]): item for item in found}


def asks(item: dict[str, Any], extra: str) -> dict[str, Requirement]:
    """What a resolved distribution with this extra requires here, by canonical name."""
    requirements = [Requirement(text) for text in item.get("requires_dist", [])]
    return {
        canonicalize_name(r.name): r
        for r in requirements
        if r.marker is None or r.marker.evaluate({"extra": extra})
    }


def only_version_of_its_neighbours(specifier: SpecifierSet, version: str) -> bool:
    """Whether the specifier takes this version and neither the patch before nor the one after."""
    year, month, patch = Version(version).release
    near = [f"{year}.{month}.{patch + step}" for step in (-1, 0, 1) if patch + step >= 0]
    return list(specifier.filter(near)) == [version]


@pytest.mark.timeout(300)
def test_cuda_extra_resolves_with_the_pinned_dask(tmp_path):
    # pip resolves dask-cuda itself, 7 MB. Its extra adds nothing but NVIDIA's wheels, 190 MB:
    # what it asks for is read from the metadata and held against the pins instead.
    (cuda,) = map(Requirement, EXTRAS["cuda"])
    (extra,) = cuda.extras
    resolved = resolve(f"{cuda.name}{cuda.specifier}", tmp_path)
    for name in ("dask-cuda", "rapids-dask-dependency", "cuda-core"):
        if name not in resolved:  # installed already
            resolved[name] = {
                **metadata.metadata(name).json,
                "requires_dist": metadata.requires(name) or [],
            }
    wanted = pins()

    assert Version(resolved["dask-cuda"]["version"]) >= Version("26.10")
    assert extra in resolved["dask-cuda"]["provides_extra"]  # pip only warns of an unknown extra
    for name in ("dask", "distributed"):
        pinned_by_rapids = asks(resolved["rapids-dask-dependency"], "")[name].specifier
        assert only_version_of_its_neighbours(pinned_by_rapids, wanted[name])
        assert metadata.version(name) == wanted[name]
        assert name not in resolved  # nothing to reinstall: the environment has that very version

    core = asks(resolved["dask-cuda"], extra)["cuda-core"]
    assert core.extras == {extra}
    brought = asks(resolved["cuda-core"], extra)
    assert {"cuda-bindings", "cuda-toolkit"} <= brought.keys()
    for name, requirement in brought.items():
        assert requirement.specifier.contains(wanted[name]), name


def test_cuda_extra_matches_the_cuda_of_torch():
    (cuda,) = map(Requirement, EXTRAS["cuda"])
    (extra,) = cuda.extras
    majors = {m[1] for name in pins() if (m := re.fullmatch(r"nvidia-.*-(cu\d+)", name))}
    assert majors == {extra}


# ------------------------------------------------------------------ the repository


def repository_files() -> list[Path]:
    """Files that are tracked or would be; without git, everything outside generated folders."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode == 0:
        found = [ROOT / name for name in listed.stdout.split("\0") if name]
        return [path for path in found if path.is_file()]
    skipped = {".git", "build", "__pycache__"}
    return [
        path
        for path in ROOT.rglob("*")
        if path.is_file() and not skipped & set(path.relative_to(ROOT).parts)
    ]


def test_no_large_file():
    large = {str(p): p.stat().st_size for p in repository_files() if p.stat().st_size > 1_000_000}
    assert not large


def test_no_path_of_a_machine():
    homes = re.compile(r"(?<![\w./$}-])/(?:home|root|Users|mnt|scratch)/\w+")
    found = []
    for path in repository_files():
        text = path.read_bytes().decode("utf-8", errors="ignore")
        found += [f"{path}: {match[0]}" for match in homes.finditer(text)]
        found += [f"{path}: names this checkout"] if f"{ROOT}/" in text else []
    assert not found


def test_generated_files_stay_under_build():
    assert "/build/" in (ROOT / ".gitignore").read_text().split()
    assert not [path for path in repository_files() if path.relative_to(ROOT).parts[0] == "build"]


def test_ci_calls_make_test():
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert "make test" in script.read_text()


def test_make_names_an_old_python_in_one_line(tmp_path):
    (tmp_path / "Makefile").write_text((ROOT / "Makefile").read_text())
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "constraints.txt").touch()
    old = tmp_path / "old-python"
    old.write_text("#!/bin/sh\n[ \"$1\" = --version ] && echo 'Python 3.9.2' && exit 0\nexit 1\n")
    old.chmod(0o755)
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS"))}
    done = subprocess.run(
        ["make", "run", f"PYTHON={old}"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    first, *rest = done.stderr.splitlines()
    assert "Python 3.11 or newer" in first
    assert "Python 3.9.2" in first
    assert all(line.startswith("make: ***") for line in rest)
    assert not (tmp_path / "build").exists()
