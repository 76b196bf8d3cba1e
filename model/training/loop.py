"""Train a pack until each of its heads has ended, with checkpoints to resume from."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from model.inputs.watershed import HeadData
from model.settings import Settings
from model.training import checkpoint
from model.training.trainer import RESTARTS, SLOWER, Trainer

Report = Callable[[dict[str, Any]], None]


def fit_pack(
    heads: Sequence[HeadData],
    settings: Settings,
    device: torch.device,
    folder: Path,
    report: Report,
    start: Callable[[str], dict[str, Tensor]] | None = None,
) -> Iterator[Fitted | Diverged]:
    """Train a pack, taking up what an earlier call left in `folder`: heads that it trained to the
    end are not trained again.

    A head ends with the last update, or when `patience` validations in a row were not kept, and is
    not refitted then; the pack goes on with the others. One whose loss is not finite goes back to
    its last checkpoint and on at a lower rate, and is given up after some restarts.

    Args:
        heads: of one store; one head on a CPU, many on a GPU.
        folder: receives `<site_no>.safetensors`, and a resume file until the head is done.
        report: is called with one line a head and validation.
        start: the weights that the head of a site number begins from, where it has some.

    Yields:
        What became of each head, as it ends.
    """
    began = time.monotonic()
    left = []
    for head in heads:
        if path := checkpoint.trained(folder, head.site_no, settings):
            yield Fitted.read(path, 0.0)
        else:
            left.append(head)
    if not left:
        return
    trainer = Trainer(left, settings, device)
    if start:
        trainer.start([start(head.site_no) for head in left])
    checkpoint.load_progress(trainer, folder)
    patience = settings.patience * settings.evaluate_every
    ends = settings.updates, settings.all_updates
    while True:
        losses = trainer.step()
        if trainer.update % settings.evaluate_every and trainer.update not in ends:
            continue
        wild = (~losses.isfinite()).nonzero().flatten().tolist()
        trainer.restart(wild)
        scores = trainer.validate()
        seconds = time.monotonic() - began
        ended: list[Fitted | Diverged] = []
        going, last = [], trainer.update >= settings.all_updates
        for i, (head, loss) in enumerate(zip(trainer.heads, losses.tolist(), strict=True)):
            line = {"site_no": head.site_no, "update": trainer.update, "loss": loss}
            report({**line, "validation_nse": scores[i], "seconds": seconds})
            if trainer.rate[i] < SLOWER ** (RESTARTS + 0.5):
                ended.append(Diverged(head.site_no, trainer.update))
            elif last or trainer.update - int(trainer.kept_update[i]) >= patience:
                path = checkpoint.save_head(trainer, i, folder)
                ended.append(Fitted.read(path, seconds / len(left)))
            else:
                going.append(i)
        if not going:
            del trainer  # and its data, before the caller simulates with its own
            yield from ended
            return
        if len(going) < len(trainer.heads):
            trainer = trainer.keep(going)
        else:
            trainer.safe = trainer.snapshot()
        checkpoint.save_progress(trainer, folder)
        yield from ended


@dataclass(frozen=True)
class Fitted:
    """What training one head gave; `seconds` are those of this call."""

    site_no: str
    updates: int
    kept_update: int
    validation_nse: float
    seconds: float
    checkpoint: Path

    @classmethod
    def read(cls, path: Path, seconds: float) -> Fitted:
        """What a checkpoint says of its head."""
        about = checkpoint.read(path)[1]
        names = ("site_no", "updates", "kept_update", "validation_nse")
        return cls(**{name: about[name] for name in names}, seconds=seconds, checkpoint=path)


@dataclass(frozen=True)
class Diverged:
    """A head that was given up: its loss was not finite, after restarts too."""

    site_no: str
    update: int

    def __str__(self) -> str:
        return (
            f"watershed {self.site_no}: loss not finite at update {self.update}, "
            f"after {RESTARTS} restarts at lower rates"
        )
