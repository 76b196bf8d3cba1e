"""Weights and training progress on disk, one file per head (`model.network.tensor_file`).

Parameters of cells and of patches are stored at the head's own size, so a head that was trained in
a padded pack loads alone and in any other pack.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from model.inputs.pack import Pack, make_pack
from model.inputs.watershed import HeadData
from model.network.domst import DomST
from model.network.tensor_file import read, read_good, remove, write
from model.settings import Settings
from model.training.padding import stack_padded, without_padding
from model.training.trainer import Trainer
from pipeline.errors import InputError


def head_path(folder: Path, site_no: str) -> Path:
    """Path of a head's trained weights."""
    return folder / f"{site_no}.safetensors"


def progress_path(folder: Path, site_no: str) -> Path:
    """Path of the state of an unfinished training."""
    return folder / f"{site_no}.progress.safetensors"


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
