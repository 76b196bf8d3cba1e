"""Attributes of a store's root: conventions, the catalog, and digests of all inputs."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pipeline.errors import InputError
from pipeline.storage import sha256
from pipeline.store import cf
from pipeline.store.root import LAYOUT
from pipeline.store.spec import StoreSpec

# Packages that the stored numbers depend on.
PACKAGES = ("numba", "numpy", "pyflwdir", "pyproj", "rasterio", "shapely", "zarr")


def root_attributes(spec: StoreSpec) -> dict[str, Any]:
    """Attributes of the root as they would be written now; all but `created` follow from inputs."""
    catalog = spec.catalog
    static = {
        "gauges": sorted(
            {
                catalog.resolve(catalog.gauges.files.replace("{site}", site.watershed.site_no))
                for site in spec.sites
            }
        ),
        "watersheds": _with_siblings(catalog.resolve(catalog.watersheds.file)),
        "terrain": [catalog.resolve(catalog.terrain.raster)] if catalog.terrain else [],
    }
    return {
        "Conventions": cf.CONVENTIONS,
        "title": catalog.title,
        "history": cf.HISTORY,
        "synthetic": int(catalog.synthetic),
        "layout": LAYOUT,
        "block_steps": spec.block_steps,
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
            "versions": {
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
    total = hashlib.sha256()
    for path in files:
        try:
            content = sha256(path)
        except OSError as error:
            raise InputError(
                f"{path}: not readable ({error.strerror}): expected a file that the catalog names"
            ) from error
        total.update(f"{path.name} {content}\n".encode())
    return total.hexdigest()
