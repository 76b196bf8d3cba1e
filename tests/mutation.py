"""Mutation testing of the numerical and time-handling modules: `python -m tests.mutation REPORT`.

cosmic-ray (`pip install cosmic-ray`; not part of the test environment) makes the mutants: single
changes of an operator, a number, a comparison and so on. A random sample of each module's mutants
is written into the checkout one at a time, and the module's tests run on it in a forked process; a
mutant is killed if one of them fails. Needs a checkout without changes; the file is restored.
"""

from __future__ import annotations

import ast
import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

ROOT = Path(__file__).resolve().parent.parent
# A module or a folder of them, and the tests that are to kill its mutants.
TARGETS = {
    "pipeline/regrid/grid.py": "pipeline/regrid/test_grid.py pipeline/regrid/test_separable.py",
    "pipeline/regrid/separable.py": "pipeline/regrid/test_separable.py",
    "pipeline/regrid/projected.py": "pipeline/regrid/test_projected.py",
    "pipeline/regrid/cell_shares.py": "pipeline/regrid/test_projected.py",
    "pipeline/regrid/pixel_edges.py": "pipeline/regrid/test_projected.py",
    "pipeline/run/aggregate.py": "pipeline/run/test_aggregate.py",
    "pipeline/rasters/accumulation.py": "pipeline/rasters/test_accumulation.py",
    "pipeline/catalog/time.py": "pipeline/rasters/test_series.py pipeline/gauges/test_read.py",
    "pipeline/gauges/times.py": "pipeline/gauges",
    "pipeline/gauges/to_steps.py": "pipeline/gauges",
    "pipeline/units.py": "pipeline/test_units.py pipeline/gauges pipeline/run/test_aggregate.py",
    "pipeline/evaporation.py": "pipeline/test_evaporation.py",
    "pipeline/watersheds": "pipeline/watersheds",
    "model/evaluation/bootstrap.py": "model/evaluation",
    "model/evaluation/floors.py": "model/evaluation",
    "model/evaluation/metrics.py": "model/evaluation",
    "model/evaluation/score.py": "model/jobs/test_library.py",
    "model/inputs/features.py": "model/inputs/test_features.py",
    "model/inputs/pack.py": "model/inputs/test_pack.py",
    "model/inputs/snow.py": "model/inputs/test_snow.py",
    "model/inputs/soil.py": "model/inputs/test_soil.py model/inputs/test_leaks.py",
    "model/inputs/split.py": "model/inputs/test_split.py",
    "model/inputs/watershed.py": "model/inputs/test_watershed.py model/inputs/test_leaks.py",
    "model/network/contribution.py": "model/network/test_contribution.py",
    "model/training/loss.py": "model/training/test_loss.py",
}
# Heavy libraries that are imported once, before the process forks.
LIBRARIES = ("dask", "distributed", "geopandas", "hypothesis", "numba", "pyflwdir", "rasterio",
             "scipy.signal", "scipy.stats", "scores", "torch", "xarray", "zarr")  # fmt: skip
SKIPPED = {"RemoveDecorator", "VariableReplacer", "VariableInserter"}
Mutant = tuple[str, int, int]  # operator, which occurrence of it, line


def annotation_offsets(source: str) -> set[int]:
    """Offsets, as line * 1000 + column, that belong to annotations: they do nothing."""
    found: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        for name in ("annotation", "returns"):
            part = getattr(node, name, None)
            if isinstance(part, ast.expr):
                for line in range(part.lineno, (part.end_lineno or 0) + 1):
                    start = part.col_offset if line == part.lineno else 0
                    end = part.end_col_offset if line == part.end_lineno else 999
                    found |= {1000 * line + column for column in range(start, (end or 0) + 1)}
    return found


def list_mutants(source: str) -> Iterator[Mutant]:
    """All mutants of a module outside its annotations."""
    from cosmic_ray.ast import ast_nodes, get_ast
    from cosmic_ray.operators.provider import OperatorProvider

    provider, excluded, tree = OperatorProvider(), annotation_offsets(source), get_ast(source)
    for name in sorted(set(provider) - SKIPPED):
        occurrence = 0
        for node in ast_nodes(tree):
            for (line, column), _ in provider[name]().mutation_positions(node):
                if 1000 * line + column not in excluded:
                    yield name, occurrence, line
                occurrence += 1


def run_tests(tests: list[str], seconds: int) -> bool:
    """Run tests in a forked process: whether all of them pass in time."""
    child = os.fork()
    if not child:
        import signal

        import pytest

        signal.alarm(seconds)  # ends the process
        with open(os.devnull, "w") as nothing:
            os.dup2(nothing.fileno(), 1)
            os.dup2(nothing.fileno(), 2)
        os._exit(pytest.main(["-x", "-q", "--assert=plain", *tests]))
    return os.waitpid(child, 0)[1] == 0


def sample_module(path: Path, tests: list[str], number: int, seed: int) -> dict[str, Any]:
    """Test a sample of a module's mutants: their number and the survivors."""
    from cosmic_ray.mutating import mutate_code
    from cosmic_ray.operators.provider import OperatorProvider

    source = path.read_text()
    mutants = list(list_mutants(source))
    chosen = random.Random(f"{seed} {path.relative_to(ROOT)}").sample(
        mutants, min(number, len(mutants))
    )
    survivors = []
    for operator, occurrence, line in chosen:
        changed = mutate_code(source, OperatorProvider()[operator](), occurrence)
        try:
            path.write_text(changed)
            if run_tests(tests, 240):
                old, new = (text.splitlines() for text in (source, changed))
                at = next(
                    (i for i, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), line - 1
                )
                survivors.append(f"{at + 1}: {old[at].strip()} -> {new[at].strip()}")
        finally:
            path.write_text(source)
    return {"mutants": len(mutants), "tried": len(chosen), "survivors": survivors}


def main(
    report: Annotated[Path, typer.Argument(help="JSON file for the results, extended")],
    only: Annotated[list[str] | None, typer.Option(help="targets; all if left out")] = None,
    number: Annotated[int, typer.Option(min=1, help="mutants per module")] = 6,
    seed: Annotated[int, typer.Option(help="of the sample")] = 0,
) -> None:
    """Sample mutants of each module and run the module's tests on each of them."""
    if subprocess.run(["git", "diff", "--quiet"], cwd=ROOT, check=False).returncode:
        raise SystemExit("the checkout has changes: expected none")
    os.chdir(ROOT)
    os.environ["NUMBA_CACHE_DIR"] = tempfile.mkdtemp()  # a kernel's cache ignores what it calls
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.dont_write_bytecode = True
    for library in LIBRARIES:
        __import__(library)
    results = json.loads(report.read_text()) if report.exists() else {}
    for target, names in TARGETS.items():
        if only and target not in only:
            continue
        tests = [f"tests/{name}" for name in names.split()]
        place = ROOT / target
        for path in sorted(place.glob("[!_]*.py")) if place.is_dir() else [place]:
            name = str(path.relative_to(ROOT))
            if name in results:
                continue
            if not run_tests(tests, 300):
                raise SystemExit(f"{name}: its tests fail without a mutation")
            results[name] = sample_module(path, tests, number, seed)
            report.write_text(json.dumps(results, indent=1) + "\n")
            print(name, results[name], flush=True)


if __name__ == "__main__":
    typer.run(main)
