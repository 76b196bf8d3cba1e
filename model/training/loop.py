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
from model.network import tensor_file
from model.settings import Settings
from model.training import checkpoint
from model.training.trainer import Trainer

OnProgress = Callable[[dict[str, Any]], None]
InitialWeights = Callable[[str], dict[str, Tensor]]  # of a site number


def fit_pack(
    heads: Sequence[HeadData],
    settings: Settings,
    device: torch.device,
    folder: Path,
    on_progress: OnProgress,
    initial_weights: InitialWeights | None = None,
) -> Iterator[Fitted | Diverged]:
    """Train a pack, resuming what an earlier call left in `folder`.

    Heads that are already trained are not trained again. A head ends with the last update, or when
    `patience` validations in a row were not kept, and then has no refit; the pack continues with
    the others. A head whose loss is not finite goes back to its last checkpoint and continues at a
    lower rate; after `restarts` of them it is given up.

    Args:
        heads: of one store; one head on a CPU, many on a GPU.
        settings: of the training.
        device: where the pack is trained.
        folder: receives `<site_no>.safetensors`, and a progress file until the head is done.
        on_progress: is called with one line (see `metrics.jsonl`) for each head and validation.
        initial_weights: weights that a head starts from; random ones where they lack.

    Yields:
        The result of each head, as it ends.
    """
    began = time.monotonic()
    untrained = []
    for head in heads:
        if path := checkpoint.find_head(folder, head.site_no, settings):
            yield Fitted.read(path, 0.0)
        else:
            untrained.append(head)
    if not untrained:
        return
    trainer = Trainer(untrained, settings, device)
    if initial_weights:
        trainer.start([initial_weights(head.site_no) for head in untrained])
    checkpoint.load_progress(trainer, folder)
    patience = settings.patience * settings.evaluate_every
    ends = settings.updates, settings.all_updates
    while True:
        losses = trainer.step()
        if trainer.update % settings.evaluate_every and trainer.update not in ends:
            continue
        trainer.restart((~losses.isfinite()).nonzero().flatten().tolist())
        scores = trainer.validate()
        seconds = time.monotonic() - began
        ended: list[Fitted | Diverged] = []
        unfinished, last = [], trainer.update >= settings.all_updates
        for i, (head, loss) in enumerate(zip(trainer.heads, losses.tolist(), strict=True)):
            line = {"site_no": head.site_no, "update": trainer.update, "loss": loss}
            on_progress({**line, "validation_nse": scores[i], "seconds": seconds})
            if trainer.rate_factor[i] < settings.restart_rate ** (settings.restarts + 0.5):
                ended.append(Diverged(head.site_no, trainer.update, settings.restarts))
            elif last or trainer.update - int(trainer.kept_update[i]) >= patience:
                path = checkpoint.save_head(trainer, i, folder)
                ended.append(Fitted.read(path, seconds / len(untrained)))
            else:
                unfinished.append(i)
        if not unfinished:
            del trainer  # and its data, before the caller simulates with its own
            yield from ended
            return
        if len(unfinished) < len(trainer.heads):
            trainer = trainer.select(unfinished)
        else:
            trainer.restart_point = trainer.snapshot()
        checkpoint.save_progress(trainer, folder)
        yield from ended


@dataclass(frozen=True)
class Fitted:
    """Result of a trained head; `seconds` are those of this call."""

    site_no: str
    updates: int
    kept_update: int
    validation_nse: float
    seconds: float
    checkpoint: Path

    @classmethod
    def read(cls, path: Path, seconds: float) -> Fitted:
        """Read the result from a head's checkpoint."""
        about = tensor_file.read(path)[1]
        names = ("site_no", "updates", "kept_update", "validation_nse")
        return cls(**{name: about[name] for name in names}, seconds=seconds, checkpoint=path)


@dataclass(frozen=True)
class Diverged:
    """A head that was given up, as its loss was not finite after restarts either."""

    site_no: str
    update: int
    restarts: int

    def __str__(self) -> str:
        return (
            f"watershed {self.site_no}: loss not finite at update {self.update}, "
            f"after {self.restarts} restarts at lower rates"
        )
