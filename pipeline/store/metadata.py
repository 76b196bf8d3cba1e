"""Consolidated metadata: a copy of the metadata of all groups and arrays in the root.

With it xarray opens a store without listing it and without a warning. Zarr keeps the copy inline,
in the root's `zarr.json`, which every reader of any part has to decode: a store of very many
watersheds has none.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

METADATA = "zarr.json"  # file of a group or array
MAX_WATERSHEDS = 100  # of a store with consolidated metadata; they take 20 kB each


def consolidate(root: bytes, files: Mapping[str, bytes]) -> bytes:
    """Add the consolidated metadata to a root's `zarr.json`.

    Args:
        root: content of the root's `zarr.json`.
        files: of the store below its root, content by path; others than `zarr.json` are ignored.

    Returns:
        New content of the root's `zarr.json`, the same that `zarr.consolidate_metadata` writes.
    """
    nodes = {
        key.removesuffix(f"/{METADATA}"): json.loads(content)
        for key, content in files.items()
        if key.endswith(f"/{METADATA}")
    }
    listed = {
        path: _listing(node, {}) if node["node_type"] == "group" else node
        for path, node in sorted(nodes.items(), key=lambda item: (item[0].count("/"), item[0]))
    }
    return encode_metadata(_listing(json.loads(root), listed))


def encode_metadata(content: Mapping[str, Any]) -> bytes:
    """Encode the content of a `zarr.json` as Zarr does."""
    return json.dumps(content, indent=2).encode()


def _listing(group: Mapping[str, Any], members: Mapping[str, Any]) -> dict[str, Any]:
    """A group's metadata with those of its members, in Zarr's order of keys."""
    return {
        "attributes": group["attributes"],
        "zarr_format": group["zarr_format"],
        "consolidated_metadata": {"kind": "inline", "must_understand": False, "metadata": members},
        "node_type": group["node_type"],
    }
