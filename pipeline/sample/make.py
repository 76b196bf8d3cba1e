"""The embedded sample: a deterministic synthetic world, written as raw files.

Terrain, storms, soils and rivers are generated; gauges, rasters and polygons are written in the
formats of agencies, and the pipeline reads them as it reads real data. The physics is kept apart
from what `model` assumes: kinematic waves in channels, whose speed depends on the discharge;
hillslopes and groundwater that drain by powers of what they hold; Hamon's evaporation; and rasters
that hold the rain with errors. It is a model all the same, simpler and more regular than a
landscape. What no agency knows, such as soils and the roughness of channels, is in truth.json.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from pipeline.errors import InputError, RunError
from pipeline.sample.build import write_world
from pipeline.sample.world import GENERATOR_VERSION, SEED, World, full_world, tiny_world

__all__ = ["GENERATOR_VERSION", "SEED", "make_sample"]

TRUTH = "truth.json"


def make_sample(directory: Path, *, tiny: bool = False, seed: int = SEED) -> Path:
    """Write the synthetic world into `directory` and return the path of its catalog.

    A complete sample of the same version, size and seed is left as it is; another or a damaged
    sample is replaced. The same arguments give the same bytes. `directory` appears only when all
    files are written.

    Args:
        directory: where to write; made if missing.
        tiny: write a small world for tests: 4 watersheds, 3 water years.
        seed: of everything random.

    Raises:
        InputError: `directory` holds something else.
        RunError: with this seed the terrain has no rivers of the sizes asked for.
    """
    directory = Path(os.path.abspath(directory))
    world = tiny_world(seed) if tiny else full_world(seed)
    catalog = directory / "catalog.yaml"
    if directory.exists() and not directory.is_dir():
        raise InputError(f"{directory}: is a file: expected a directory")
    if directory.is_dir() and any(directory.iterdir()) and _recorded(directory) is None:
        raise InputError(f"{directory}: holds other files: expected a new or empty directory")
    if _is_complete(directory, world):
        return catalog
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{directory.name}.", dir=directory.parent))
    except OSError as error:
        raise RunError(
            f"{directory}: not written ({error.strerror}): expected permission to write"
        ) from error
    try:
        with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
            write_world(world, scratch, pool)
        scratch.chmod(0o755)
        if directory.exists():
            shutil.rmtree(directory)
        scratch.rename(directory)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return catalog


def _recorded(directory: Path) -> Any:
    """Read the description of the sample in `directory`, None if there is none."""
    try:
        truth = json.loads((directory / TRUTH).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return truth.get("sample") if isinstance(truth, dict) else None


def _is_complete(directory: Path, world: World) -> bool:
    expected = {
        "generator_version": GENERATOR_VERSION,
        "seed": world.seed,
        "days": world.days,
        "watersheds": len(world.gauges),
    }
    if _recorded(directory) != expected:
        return False
    rasters = sum(1 for _ in (directory / "rasters").glob("*.tif"))
    gauges = sum(1 for _ in (directory / "gauges").glob("*.rdb"))
    single = ("catalog.yaml", "README.txt", "dem.tif", "watersheds.gpkg")
    return (
        rasters == world.days
        and gauges == len(world.gauges)
        and all((directory / name).is_file() for name in single)
    )
