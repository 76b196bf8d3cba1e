"""Keep the watersheds that a catalog's outlets were delineated to in the store's folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pipeline.storage import has_file, join
from pipeline.store.write import StoreWriter
from pipeline.watersheds.polygons import Watershed

FILE = "watersheds.gpkg"  # at the root of a store, if its watersheds were delineated


def save_delineated(writer: StoreWriter, watersheds: Sequence[Watershed], polygons: Path) -> None:
    """Write delineated watersheds as a GeoPackage; remove that of earlier ones that were.

    Args:
        writer: of the store.
        watersheds: of the run.
        polygons: file of the watersheds; it stays if it is what an earlier run wrote.

    Raises:
        RunError: the disk is full or read-only.
    """
    if watersheds[0].outlet is not None:
        from pipeline.watersheds.geopackage import encode_geopackage

        writer.write({FILE: encode_geopackage(watersheds)})
    elif has_file(writer.path, FILE):
        written = join(writer.path, FILE)
        if not (isinstance(written, Path) and written.resolve() == polygons.resolve()):
            writer.remove([FILE])
