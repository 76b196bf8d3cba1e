"""Cache of weights in the user's cache folder.

The folder is $DOMST_CACHE, or ~/.cache/dom-st. A file is named by the SHA-256 of everything its
weights depend on, so it never becomes stale, and it may be deleted at any time.
"""

from __future__ import annotations

import errno
import hashlib
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load, save

from pipeline.log import get_logger

LOG = get_logger(__name__)

DIGEST = hashlib.sha256().digest_size


def cache_folder() -> Path:
    """Return the cache folder.

    Raises:
        OSError: neither $DOMST_CACHE nor the user's home is known.
    """
    named = os.environ.get("DOMST_CACHE")
    try:
        return Path(named) if named else Path.home() / ".cache" / "dom-st"
    except RuntimeError as error:
        raise OSError(errno.ENOTDIR, "no home folder: set DOMST_CACHE") from error


def key_of(*parts: Any) -> str:
    """Return the SHA-256 of some parts: arrays by type, shape and bytes, others by their repr."""
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, np.ndarray):
            digest.update(f"{part.dtype.str} {part.shape} ".encode())
            digest.update(np.ascontiguousarray(part).tobytes())
        else:
            digest.update(f"{part!r} ".encode())
    return digest.hexdigest()


def load_arrays(key: str) -> dict[str, np.ndarray] | None:
    """Return the arrays cached under a key; None if there are none or, with a warning, if the file
    is damaged.

    A file holds the SHA-256 of the rest, then the arrays as safetensors writes them.
    """
    try:
        path = _path(key)
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        LOG.warning("cached weights are not readable (%s): they are computed again", error)
        return None
    if content[:DIGEST] != hashlib.sha256(content[DIGEST:]).digest():
        LOG.warning("%s: damaged cached weights: they are computed again", path)
        return None
    return load(content[DIGEST:])


def save_arrays(key: str, arrays: dict[str, np.ndarray]) -> None:
    """Cache arrays under a key; a folder that cannot be written to gives a warning."""
    content = save(arrays)
    try:
        path = _path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=path.parent, suffix=".part")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(hashlib.sha256(content).digest() + content)
            os.replace(name, path)
        except BaseException:
            os.unlink(name)
            raise
    except OSError as error:
        LOG.warning("weights are not cached (%s): they are computed again next time", error)


def _path(key: str) -> Path:
    return cache_folder() / f"{key}.arrays"
