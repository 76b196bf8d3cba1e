"""Tensors and a description in one file, as safetensors: no pickle, whole or not at all.

A file is written under a temporary name, brought to the disk and renamed, so a reader never sees
half of one. A file that is damaged all the same, for its checksum is wrong, is set aside under the
name `*.damaged`, and the version before it is used.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from pipeline.errors import InputError
from pipeline.log import get_logger
from pipeline.store.lease import replace_file

log = get_logger(__name__)
FORMAT = "dom-st weights 5"  # version of the tensors, of the settings and of what they mean
EXPECTED = "expected a checkpoint as training writes it"


class DamagedError(InputError):
    """A file that is not, or not any more, what `write` made."""


def write(
    path: Path, tensors: dict[str, Tensor], about: dict[str, Any], *, keep_previous: bool = False
) -> None:
    """Write tensors and a JSON description under `path`, all or nothing.

    Args:
        path: of the file; its folder is made if it is missing.
        tensors, about: what is written.
        keep_previous: keep the file that is replaced, for `read_good`.
    """
    tensors = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    described = {"format": FORMAT, **about}
    described["crc32"] = _checksum(tensors, described)
    content = save(tensors, {"about": json.dumps(described)})
    before_renaming = partial(_keep, path) if keep_previous else lambda: None
    replace_file(path, content, "checkpoint", before_renaming, sync=True)


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read tensors and description of a file that `write` made, both from one version of it.

    Raises:
        DamagedError: not such a file, or one that is damaged.
        InputError: it cannot be read, or is of another version.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}: expected a checkpoint") from error
    return _decode(path, content)


def read_good(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Read a file, or the one before it where it is damaged; None if neither is there and whole.

    Damaged files are set aside.

    Raises:
        InputError: a file of another version.
    """
    for one in (path, previous(path)):
        try:
            return _decode(one, one.read_bytes())
        except FileNotFoundError:
            pass
        except DamagedError as error:
            log.warning("%s; set aside", error)
            with suppress(FileNotFoundError):
                one.replace(one.with_name(f"{one.name}.damaged"))
    return None


def _decode(path: Path, content: bytes) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Decode the content of a file; errors as of `read`."""
    about: dict[str, Any]
    try:
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        about = json.loads(header["__metadata__"]["about"])
        version = about["format"]
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedError(f"{path}: damaged or no checkpoint ({error!r}): {EXPECTED}") from error
    if version != FORMAT:
        raise InputError(f"{path}: is a {version}: expected a {FORMAT}, train it again")
    try:
        tensors = load(content)
        whole = about.pop("crc32") == _checksum(tensors, about)
    except (SafetensorError, RuntimeError, ValueError, KeyError, TypeError) as error:
        raise DamagedError(f"{path}: damaged ({error}): {EXPECTED}") from error
    if not whole:
        raise DamagedError(f"{path}: damaged (wrong checksum): {EXPECTED}")
    del about["format"]
    return tensors, about


def previous(path: Path) -> Path:
    """Path of the version of a file before the last one."""
    return path.with_name(f"{path.name}.previous")


def remove(path: Path) -> None:
    """Remove a file and the version before it."""
    for one in (path, previous(path)):
        one.unlink(missing_ok=True)


def _keep(path: Path) -> None:
    with suppress(FileNotFoundError):
        os.replace(path, previous(path))


def _checksum(tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> int:
    """CRC-32 of a description and of the names, types, shapes and values of tensors."""
    crc = zlib.crc32(json.dumps(about, sort_keys=True).encode())
    for name in sorted(tensors):
        value = tensors[name]
        crc = zlib.crc32(f"{name} {value.dtype} {tuple(value.shape)}".encode(), crc)
        crc = zlib.crc32(value.numpy().tobytes(), crc)
    return crc
