"""Workers that die, join and leave while heads train, and heads that are given up."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from distributed import Client

from model.jobs.train import train
from model.settings import Settings
from model.training.trainer import Trainer
from pipeline.errors import RunError
from pipeline.run.cluster import make_client
from pipeline.store.read import list_sites

SHORT = Settings(updates=40, evaluate_every=4)


def run(store: Path, folder: Path, client: Client, settings: Settings = SHORT) -> None:
    train(store, folder, settings=settings, client=client)


def trained(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "checkpoints").glob("*.safetensors")}


@pytest.fixture(scope="module")
def undisturbed(tiny_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short training on one worker."""
    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    with make_client(workers=1) as client:
        run(tiny_store, folder, client)
    return folder


def kill(client: Client, worker: str) -> None:
    """As the system does when memory is out; the nanny starts another process in its place."""
    os.kill(client.run(os.getpid, workers=[worker])[worker], signal.SIGKILL)


def retire(client: Client, worker: str) -> None:
    """As a queueing system's worker at its end."""
    client.retire_workers([worker], close_workers=True)


@pytest.mark.parametrize("end", [kill, retire])
def test_a_worker_that_ends_costs_nothing_and_another_joins(
    tiny_store: Path, tmp_path: Path, undisturbed: Path, end: Callable[[Client, str], None]
) -> None:
    struck: list[str] = []

    def disturb(client: Client) -> None:
        while not list(tmp_path.glob("run/checkpoints/*progress*")):
            time.sleep(0.01)
        worker, keys = next(iter(client.processing().items()))
        struck.extend(keys)
        end(client, worker)
        assert client.cluster is not None
        client.cluster.scale(3)

    with make_client(processes=True, workers=2) as client:
        thread = threading.Thread(target=disturb, args=[client], daemon=True)
        thread.start()
        run(tiny_store, tmp_path / "run", client)
        thread.join(30)
        assert not thread.is_alive()
    assert struck, "nothing was training where the worker ended"
    assert trained(tmp_path / "run") == trained(undisturbed)
    one, two = (
        json.loads((folder / "metrics.json").read_text())
        for folder in (tmp_path / "run", undisturbed)
    )
    for ours, theirs in zip(one["heads"], two["heads"], strict=True):
        assert ours["nse"] == theirs["nse"]


def test_a_trunk_is_the_same_on_other_workers_and_when_one_dies(
    tiny_store: Path, tmp_path: Path
) -> None:
    settings = Settings(trunk="shared", trunk_updates=20, updates=2, evaluate_every=2)
    with make_client(workers=1) as client:
        run(tiny_store, tmp_path / "undisturbed", client, settings)
    struck: list[str] = []

    def disturb(client: Client) -> None:
        while not (tmp_path / "run/checkpoints/trunk.progress.safetensors").exists():
            time.sleep(0.01)
        held = client.has_what()
        struck.append(max(held, key=lambda worker: len(held[worker])))
        kill(client, struck[0])

    with make_client(processes=True, workers=2) as client:
        thread = threading.Thread(target=disturb, args=[client], daemon=True)
        thread.start()
        run(tiny_store, tmp_path / "run", client, settings)
        thread.join(30)
        assert not thread.is_alive()
    assert struck
    weights = trained(tmp_path / "run")
    assert "trunk.safetensors" in weights
    assert weights == trained(tmp_path / "undisturbed")
    metrics = json.loads((tmp_path / "run/metrics.json").read_text())
    assert metrics["variant"] == "multihead on a shared trunk"
    lines = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    first_head = next(i for i, line in enumerate(lines) if line["site_no"] != "trunk")
    assert [line["update"] for line in lines[:first_head]] == [*range(2, 21, 2)]
    assert all(line["site_no"] != "trunk" for line in lines[first_head:]), "heads come after it"


def test_a_head_without_a_finite_loss_is_given_up_by_name_and_the_others_finish(
    tiny_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken, *sound = list_sites(tiny_store)
    step = Trainer.step

    def poisoned(self: Trainer) -> torch.Tensor:
        losses = step(self)
        return losses * torch.nan if self.heads[0].site_no == broken else losses

    monkeypatch.setattr(Trainer, "step", poisoned)
    settings = SHORT.model_copy(update={"updates": 20})
    with (
        make_client(workers=1) as client,  # a thread, which sees the poison
        pytest.raises(RunError, match=rf"^3 of 4 heads are done; watershed {broken}: loss not fin"),
    ):
        run(tiny_store, tmp_path / "run", client, settings)
    weights = [name for name in trained(tmp_path / "run") if "progress" not in name]
    assert sorted(weights) == [f"{site}.safetensors" for site in sound]
    assert not (tmp_path / "run" / "metrics.json").exists()
