"""Consolidated metadata: a copy of the metadata of all groups and arrays in the root.

The root's `zarr.json` is the one object by which a store changes from one state to the next:
readers take all shapes and attributes from it, in one request.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

METADATA = "zarr.json"  # file of a group or array


def consolidate(attributes: Mapping[str, Any], files: Mapping[str, bytes]) -> bytes:
    """Make the content of a root's `zarr.json`.

    Args:
        attributes: of the root.
        files: of the store below its root, content by path; others than `zarr.json` are ignored.

    Returns:
        The same that `zarr.consolidate_metadata` writes.
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
    root = {"attributes": dict(attributes), "zarr_format": 3, "node_type": "group"}
    return encode_metadata(_listing(root, listed))


def expand(root: bytes) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Take a root's `zarr.json` apart: its attributes, and the `zarr.json` of what is below it."""
    content = json.loads(root)
    files = {}
    for path, node in content["consolidated_metadata"]["metadata"].items():
        alone = {key: value for key, value in node.items() if key != "consolidated_metadata"}
        files[f"{path}/{METADATA}"] = encode_metadata(alone)
    return content["attributes"], files


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
