"""Attributes of a store's root: conventions, the catalog, and digests of all inputs."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pipeline.errors import InputError
from pipeline.storage import sha256
from pipeline.store import cf
from pipeline.store.root import GRID, LAYOUT
from pipeline.store.spec import ALGORITHM, StoreSpec

# Packages that the stored numbers depend on.
PACKAGES = ("numba", "numpy", "pyflwdir", "pyproj", "rasterio", "shapely", "zarr")


def root_attributes(spec: StoreSpec) -> dict[str, Any]:
    """Attributes of the root as they would be written now; all but `created` follow from inputs."""
    catalog = spec.catalog
    static = {
        "gauges": sorted(
            {catalog.resolve(catalog.gauges.files.replace("{site}", site)) for site in spec.sites}
        ),
        "watersheds": (_with_siblings(catalog.watersheds_path) if catalog.watersheds.path else []),
        "terrain": [catalog.resolve(catalog.terrain.raster)] if catalog.terrain else [],
    }
    return {
        "Conventions": cf.CONVENTIONS,
        "title": catalog.title,
        "history": cf.HISTORY,
        "synthetic": int(catalog.synthetic),
        "layout": LAYOUT,
        "block_steps": spec.block_steps,
        "step_seconds": catalog.period.step_seconds,
        GRID: [spec.grid.west, spec.grid.north, spec.grid.nx, spec.grid.ny],
        "provenance": {
            "catalog": {
                "path": str(catalog.path),
                "text": catalog.text,
                "sha256": catalog.digest,
            },
            "forcings": {
                name: {"files": raw.count, "bytes": raw.size, "sha256": raw.digest}
                for name, raw in spec.raw_files.items()
            },
            **{
                key: {"files": len(files), "sha256": _digest(files)}
                for key, files in static.items()
            },
            "algorithm": ALGORITHM,
            "versions": {
                "dom-st": version("dom-st"),
                "python": platform.python_version(),
                **{package: version(package) for package in PACKAGES},
            },
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
        },
    }


def _with_siblings(path: Path) -> list[Path]:
    """List a vector file and, of a shapefile, the other files that belong to it."""
    if path.suffix.lower() != ".shp":
        return [path]
    return sorted(p for p in path.parent.iterdir() if p.stem == path.stem)


def _digest(files: Sequence[Path]) -> str:
    """SHA-256 of the names and contents of files.

    Raises:
        InputError: a file is not readable.
    """

    def line(path: Path) -> str:
        try:
            return f"{path.name} {sha256(path)}\n"
        except OSError as error:
            raise InputError(
                f"{path}: not readable ({error.strerror}): expected a file that the catalog names"
            ) from error

    with ThreadPoolExecutor() as threads:
        return hashlib.sha256("".join(threads.map(line, files)).encode()).hexdigest()


def tables_stamp(spec: StoreSpec, attributes: Mapping[str, Any]) -> str:
    """Stamp of all that the tables of watersheds and gauges are made from.

    Args:
        spec: of the store.
        attributes: as `root_attributes` returns them.
    """
    catalog, provenance = spec.catalog, attributes["provenance"]
    parts = {
        **{
            key: part.model_dump(mode="json") if part else None
            for key, part in (
                ("gauges", catalog.gauges), ("watersheds", catalog.watersheds),
                ("terrain", catalog.terrain), ("period", catalog.period),
            )
        },
        **{key: attributes[key] for key in ("title", "synthetic", "layout", GRID)},
        "files": [provenance[key]["sha256"] for key in ("gauges", "watersheds", "terrain")],
        "delineated": [[one.site_no, one.area] for one in spec.watersheds if one.outlet],
        "algorithm": ALGORITHM,
    }  # fmt: skip
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
