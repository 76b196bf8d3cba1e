"""Weights and training progress on disk, as safetensors: no pickle, one file a head.

A file is written under a temporary name and renamed, so a reader never sees half of one.
Parameters of cells and places are stored at the head's own size, so a head that was trained in a
pack, padded, loads alone and in any other pack.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from model.inputs.pack import Pack, make_pack
from model.inputs.watershed import HeadData
from model.network.domst import DomST
from model.settings import Settings
from model.training.padding import own_size, stack
from model.training.trainer import Trainer
from pipeline.errors import InputError

FORMAT = "dom-st weights 2"  # of the tensors and of what a network makes of them


def head_path(folder: Path, site_no: str) -> Path:
    """The trained weights of a head."""
    return folder / f"{site_no}.safetensors"


def progress_path(folder: Path, site_no: str) -> Path:
    """The state of a training that is not at its end."""
    return folder / f"{site_no}.progress.safetensors"


def write(path: Path, tensors: dict[str, Tensor], about: dict[str, Any]) -> None:
    """Write tensors and a JSON description under `path`, all or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    tensors = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    save_file(tensors, temporary, metadata={"about": json.dumps({"format": FORMAT, **about})})
    os.replace(temporary, path)


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and description of a file that `write` made.

    Raises:
        InputError: not such a file, or one of a version whose weights mean something else.
    """
    try:
        with safe_open(path, framework="pt") as file:
            about = json.loads((file.metadata() or {})["about"])
        tensors, made = load_file(path), about.pop("format")
    except (OSError, KeyError, ValueError) as error:
        raise InputError(f"{path}: {error}: expected a checkpoint of this product") from error
    if made != FORMAT:
        raise InputError(f"{path}: is a {made}: expected a {FORMAT}, train it anew")
    return tensors, about


def save_head(trainer: Trainer, i: int, folder: Path) -> Path:
    """Write the kept weights of head `i`, and what is needed to use them; drop its progress."""
    head = trainer.heads[i]
    weights = {name: own_size(name, value[i : i + 1], head) for name, value in trainer.kept.items()}
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
    progress_path(folder, head.site_no).unlink(missing_ok=True)
    return path


def save_progress(trainer: Trainer, folder: Path) -> None:
    """Write, for each head, all that its training needs to go on bit by bit as if never stopped."""
    state = trainer.tensors()
    for i, head in enumerate(trainer.heads):
        tensors = {name: own_size(name, value[i : i + 1], head) for name, value in state.items()}
        about = {
            "update": trainer.update,
            "settings": trainer.settings.model_dump(mode="json"),
            "best_nse": float(trainer.best_nse[i]),
            "kept_nse": float(trainer.kept_nse[i]),
            "kept_update": int(trainer.kept_update[i]),
            "rate": float(trainer.rate[i]),
        }
        write(progress_path(folder, head.site_no), tensors, about)


def trained(folder: Path, site_no: str, settings: Settings) -> Path | None:
    """Where `save_head` wrote a head; None if it has not yet.

    Raises:
        InputError: it was trained with other settings.
    """
    path = head_path(folder, site_no)
    if not path.exists():
        return None
    require_same(path, read(path)[1], settings)
    return path


def require_same(path: Path, about: dict[str, Any], settings: Settings) -> None:
    """Raise InputError where a file's description is of other settings."""
    if about["settings"] != settings.model_dump(mode="json"):
        raise InputError(f"{path}: made with other settings: expected those of this run")


def updates_done(folder: Path, site_no: str) -> int:
    """How many updates the progress on disk stands for; 0 without any."""
    path = progress_path(folder, site_no)
    return int(read(path)[1]["update"]) if path.exists() else 0


def load_progress(trainer: Trainer, folder: Path) -> None:
    """Take a pack up where `save_progress` left it; heads must all stand at the same update."""
    done = {updates_done(folder, head.site_no) for head in trainer.heads}
    assert len(done) == 1, f"heads of one pack stand at updates {done}"
    if done == {0}:
        return
    files = [read(progress_path(folder, head.site_no)) for head in trainer.heads]
    for head, (_, about) in zip(trainer.heads, files, strict=True):
        require_same(progress_path(folder, head.site_no), about, trainer.settings)

    (trainer.update,) = done
    for name, target in trainer.tensors().items():
        stack(target, [tensors[name] for tensors, _ in files])
    for i, (_, about) in enumerate(files):
        trainer.best_nse[i], trainer.kept_nse[i] = about["best_nse"], about["kept_nse"]
        trainer.kept_update[i] = about["kept_update"]
        trainer.rate[i] = about["rate"]
    trainer.safe = trainer.snapshot()


def _scales(about: Mapping[str, Any]) -> np.ndarray:
    """What a head's inputs and its output are scaled by."""
    standard = [number for pair in about["standard"].values() for number in pair]
    return np.array([about["rain_scale"], about["runoff_scale"], *standard])


def load_head(path: Path, head: HeadData, device: torch.device) -> tuple[DomST, Pack]:
    """A trained head, ready to simulate `head`'s record.

    Raises:
        InputError: the checkpoint is of another watershed, window or set of forcings, or was
            trained on another record.
    """
    weights, about = read(path)
    found = about["site_no"], tuple(about["channels"]), tuple(about["window"])
    expected = head.site_no, head.channels, head.inside.shape
    if found != expected:
        raise InputError(f"{path}: holds {found}: expected {expected}")
    learned, given = (_scales(one) for one in (about, vars(head)))
    if not np.allclose(learned, given, rtol=1e-5, atol=1e-9):
        raise InputError(
            f"{path}: trained on a record of {head.site_no} whose means and deviations were "
            f"{learned.round(6).tolist()}: expected the same of the training years, not "
            f"{given.round(6).tolist()}"
        )
    settings = Settings.model_validate(about["settings"])
    pack = make_pack([head], settings.warmup, device)
    network = DomST(pack.sheds, len(head.channels) - 1, settings).to(device)
    network.load_state_dict(weights)
    return network.eval(), pack
