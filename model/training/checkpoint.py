"""Weights and training progress on disk, as safetensors: no pickle, one file per head.

Files are written under a temporary name, brought to the disk and renamed, so a reader never sees
half of one. A file that is damaged all the same, for its checksum is wrong, is set aside under the
name `*.damaged`, and training goes on from the progress before it. Parameters of cells and of
patches are stored at the head's own size, so a head that was trained in a padded pack loads alone
and in any other pack.
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

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from model.inputs.pack import Pack, make_pack
from model.inputs.watershed import HeadData
from model.network.domst import DomST
from model.settings import Settings
from model.training.padding import stack_padded, without_padding
from model.training.trainer import Trainer
from pipeline.errors import InputError
from pipeline.log import get_logger
from pipeline.store.lease import replace_file

log = get_logger(__name__)
FORMAT = "dom-st weights 4"  # version of the tensors, of the settings and of what they mean
EXPECTED = "expected a checkpoint as training writes it"


def head_path(folder: Path, site_no: str) -> Path:
    """Path of a head's trained weights."""
    return folder / f"{site_no}.safetensors"


def progress_path(folder: Path, site_no: str) -> Path:
    """Path of the state of an unfinished training."""
    return folder / f"{site_no}.progress.safetensors"


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


def save_head(trainer: Trainer, i: int, folder: Path) -> Path:
    """Write the kept weights of head `i` and what is needed to use them; delete its progress."""
    head, patch = trainer.heads[i], trainer.settings.patch
    weights = {
        name: without_padding(name, value[i : i + 1], head, patch)
        for name, value in trainer.kept.items()
    }
    about = {
        "site_no": head.site_no,
        "name": head.name,
        "settings": trainer.settings.model_dump(mode="json"),
        "channels": head.channels,
        "standard": head.standard,
        "rain_scale": head.rain_scale,
        "runoff_scale": head.runoff_scale,
        "window": head.inside.shape,
        "updates": trainer.update,
        "kept_update": int(trainer.kept_update[i]),
        "validation_nse": float(trainer.kept_nse[i]),
    }
    path = head_path(folder, head.site_no)
    write(path, weights, about)
    remove(progress_path(folder, head.site_no))
    return path


def find_head(folder: Path, site_no: str, settings: Settings) -> Path | None:
    """Return the path of a trained head; None if it is not there yet, or damaged and set aside.

    Raises:
        InputError: it was trained with other settings.
    """
    path = head_path(folder, site_no)
    found = read_good(path)
    if found is None:
        return None
    _require_same(path, found[1], settings)
    return path


def load_head(path: Path, head: HeadData, device: torch.device) -> tuple[DomST, Pack]:
    """Load a trained head, ready to simulate `head`'s record.

    Raises:
        InputError: the checkpoint is of another watershed, window or set of forcings, or was
            trained on another record.
    """
    weights, about = read(path)
    found = about["site_no"], tuple(about["channels"]), tuple(about["window"])
    expected = head.site_no, head.channels, head.inside.shape
    if found != expected:
        raise InputError(f"{path}: holds {found}: expected {expected}")
    trained_on, given = (_scales(one) for one in (about, vars(head)))
    if not np.allclose(trained_on, given, rtol=1e-5, atol=1e-9):
        raise InputError(
            f"{path}: trained on a record of {head.site_no} whose means and deviations were "
            f"{trained_on.round(6).tolist()}: expected the same of the training years, not "
            f"{given.round(6).tolist()}"
        )
    settings = Settings.model_validate(about["settings"])
    pack = make_pack([head], settings, device)
    network = DomST(pack.watersheds, len(head.channels) - 1, settings).to(device)
    network.load_state_dict(weights)
    return network.eval(), pack


def save_progress(trainer: Trainer, folder: Path) -> None:
    """Write, for each head, the whole state of its training: resumed, it continues bit by bit."""
    state, patch = trainer.tensors(), trainer.settings.patch
    for i, head in enumerate(trainer.heads):
        tensors = {
            name: without_padding(name, value[i : i + 1], head, patch)
            for name, value in state.items()
        }
        about = {
            "update": trainer.update,
            "settings": trainer.settings.model_dump(mode="json"),
            "best_nse": float(trainer.best_nse[i]),
            "kept_nse": float(trainer.kept_nse[i]),
            "kept_update": int(trainer.kept_update[i]),
            "rate_factor": float(trainer.rate_factor[i]),
        }
        write(progress_path(folder, head.site_no), tensors, about, keep_previous=True)


def load_progress(trainer: Trainer, folder: Path) -> None:
    """Restore a pack from what `save_progress` wrote.

    Raises:
        InputError: a head is at another update than the first, or was trained with other settings.
    """
    paths = [progress_path(folder, head.site_no) for head in trainer.heads]
    found = [read_good(path) for path in paths]
    updates = [one[1]["update"] if one else 0 for one in found]
    for path, update in zip(paths, updates, strict=True):
        if update != updates[0]:
            raise InputError(
                f"{path}: is at update {update}: expected {updates[0]}, as {paths[0]}; training "
                "continues if it is started again"
            )
    files = [one for one in found if one is not None]
    if not files:
        return
    for path, (_, about) in zip(paths, files, strict=True):
        _require_same(path, about, trainer.settings)
    trainer.update = updates[0]
    for name, target in trainer.tensors().items():
        stack_padded(target, [tensors[name] for tensors, _ in files])
    for i, (_, about) in enumerate(files):
        for name in ("best_nse", "kept_nse", "kept_update", "rate_factor"):
            getattr(trainer, name)[i] = about[name]
    trainer.restart_point = trainer.snapshot()


def updates_done(folder: Path, site_no: str, settings: Settings) -> int:
    """Number of updates of the progress on disk; 0 without any.

    Raises:
        InputError: the progress was made with other settings.
    """
    path = progress_path(folder, site_no)
    found = read_good(path)
    if found is None:
        return 0
    _require_same(path, found[1], settings)
    return int(found[1]["update"])


def _require_same(path: Path, about: dict[str, Any], settings: Settings) -> None:
    """Raise InputError where a file's description has other settings."""
    if about["settings"] != settings.model_dump(mode="json"):
        raise InputError(f"{path}: made with other settings: expected those of this run")


def _scales(about: Mapping[str, Any]) -> np.ndarray:
    """Collect what a head's inputs and its output are scaled by."""
    standard = [number for pair in about["standard"].values() for number in pair]
    return np.array([about["rain_scale"], about["runoff_scale"], *standard])
