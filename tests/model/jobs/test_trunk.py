"""A trunk trained on workers: it is that of its branches, and can be resumed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from dask.sizeof import sizeof
from distributed import Client, Future

from model.inputs.watershed import HeadData
from model.jobs import trunk as jobs_trunk
from model.jobs.trunk import fit_trunk, make_branch, trunk_branches
from model.network import tensor_file
from model.settings import Settings
from model.training.loop import Fitted, OnProgress, fit_pack
from model.training.trainer import Trainer
from model.training.trunk import (
    PER_WATERSHED,
    Branch,
    load_trunk,
    trunk_path,
    weights_of,
)
from pipeline.errors import InputError, RunError
from pipeline.run.cluster import make_client

Make = Callable[..., HeadData]
CPU = torch.device("cpu")
QUICK = Settings(
    trunk="shared", trunk_updates=20, trunk_branches=2, trunk_round=4, updates=20,
    evaluate_every=10, hidden=16, warmup=60, stretch=120, batch=2,
)  # fmt: skip
GROUPS = [["01", "03"], ["02"]]


def silent(line: dict[str, Any]) -> None:
    """Ignore progress."""


@pytest.fixture
def heads(make_head: Make) -> list[HeadData]:
    return [make_head("01", 6, 5), make_head("02", 3, 9), make_head("03", 9, 4)]


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with make_client(workers=1) as client:
        yield client


Grow = Callable[..., Path]


@pytest.fixture
def grow(client: Client, heads: list[HeadData]) -> Grow:
    """Train a trunk of the heads."""
    by_site = {head.site_no: head for head in heads}

    def train(folder: Path, on_progress: OnProgress = silent, settings: Settings = QUICK) -> Path:
        def submit_branch(sites: Sequence[str]) -> Future:
            some = [by_site[site] for site in sites]
            return client.submit(Branch, some, settings, CPU, pure=False)

        return fit_trunk(client, GROUPS, submit_branch, settings, folder, on_progress)

    return train


def test_a_trunk_of_one_branch_is_that_branch(
    client: Client, heads: list[HeadData], tmp_path: Path
) -> None:
    """Against the same steps, taken one after the other without workers and rounds."""
    alone = Branch(heads, QUICK, CPU)
    for _ in range(QUICK.trunk_updates):
        alone.step()
    sites = [head.site_no for head in heads]

    def submit_branch(_: Sequence[str]) -> Future:
        return client.submit(Branch, heads, QUICK, CPU, pure=False)

    start = load_trunk(fit_trunk(client, [sites], submit_branch, QUICK, tmp_path, silent))
    for site in sites:
        expected = weights_of(site, alone.average)
        found = start(site)
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_dask_knows_how_large_a_branch_is(heads: list[HeadData]) -> None:
    """Its series and records, found by looking at all that it holds; weights are small."""
    branch = Branch(heads, QUICK, CPU)
    held = [*heads, *(trainer.pack for trainer in branch.trainers)]
    arrays = [value for one in held for value in vars(one).values() if hasattr(value, "nbytes")]
    assert sizeof(branch) == pytest.approx(sum(array.nbytes for array in arrays), rel=0.1)


def test_site_numbers_are_any_text(client: Client, heads: list[HeadData], tmp_path: Path) -> None:
    named = dataclasses.replace(heads[0], site_no="Creek 3.5, shared")

    def submit_branch(_: Sequence[str]) -> Future:
        return client.submit(Branch, [named], QUICK, CPU, pure=False)

    start = load_trunk(fit_trunk(client, [[named.site_no]], submit_branch, QUICK, tmp_path, silent))
    names = {name for name, _ in Trainer([named], QUICK, CPU).network.named_parameters()}
    assert start(named.site_no).keys() == names
    assert start("5, shared").keys() == {name for name in names if not name.endswith(PER_WATERSHED)}


def test_watersheds_differ_in_their_own_parts_alone(grow: Grow, tmp_path: Path) -> None:
    start = load_trunk(grow(tmp_path))
    one, two, stranger = (start(site) for site in ("01", "02", "09"))
    assert one.keys() == two.keys()
    for name in one:
        if name.endswith(PER_WATERSHED):
            assert name not in stranger
        else:
            assert torch.equal(one[name], two[name])
            assert torch.equal(one[name], stranger[name])
    assert not torch.equal(one["contribution.log_velocity"], two["contribution.log_velocity"])


def test_an_interrupted_trunk_resumes_bit_by_bit(grow: Grow, tmp_path: Path) -> None:
    whole = grow(tmp_path / "whole")

    def stop(line: dict[str, Any]) -> None:
        if line["update"] == 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        grow(tmp_path / "cut", stop)
    assert not trunk_path(tmp_path / "cut").exists()
    lines: list[dict[str, Any]] = []
    cut = grow(tmp_path / "cut", lines.append)
    assert [line["update"] for line in lines] == [20], "from update 10 on"
    assert cut.read_bytes() == whole.read_bytes()
    assert [path.name for path in (tmp_path / "cut").iterdir()] == [cut.name]
    cut.write_bytes(whole.read_bytes()[:-1])
    assert grow(tmp_path / "cut").read_bytes() == whole.read_bytes(), "trained again"
    with pytest.raises(InputError, match="other settings"):
        grow(tmp_path / "cut", silent, QUICK.model_copy(update={"trunk_rate": 0.1}))


def test_a_trunk_without_a_finite_loss_is_given_up(grow: Grow, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"^trunk: loss not finite by update 10$"):
        grow(tmp_path, silent, QUICK.model_copy(update={"trunk_rate": 1e20, "trunk_round": 50}))
    assert not trunk_path(tmp_path).exists()


def test_a_watershed_that_cannot_be_loaded_is_left_out(
    client: Client,
    heads: list[HeadData],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """One of two of a branch, and a branch of one; the trunk stays when they are there later."""
    by_site = {head.site_no: head for head in heads}
    broken: dict[str, Exception] = {"03": InputError("store: watershed 03: no rain")}

    def load_some(store: str, site: str, settings: Settings) -> HeadData:
        if site in broken:
            raise broken[site]
        return by_site[site]

    def submit_branch(sites: Sequence[str]) -> Future:
        return client.submit(make_branch, "store", sites, QUICK, "cpu", pure=False)

    def fit(folder: Path, groups: list[list[str]], on_progress: OnProgress = silent) -> Path:
        return fit_trunk(client, groups, submit_branch, QUICK, folder, on_progress)

    monkeypatch.setattr(jobs_trunk, "load_head", load_some)
    expected = fit(tmp_path / "without", [["01"], ["02"]])
    found = fit(tmp_path / "left out", [["01", "03"], ["02"]])
    assert found.read_bytes() != expected.read_bytes(), "of other groups"
    assert same_weights(found, expected)
    assert "store: watershed 03: no rain; left out of the trunk" in caplog.text

    broken["02"] = OSError("Input/output error")
    alone = fit(tmp_path / "alone", [["01", "03"], ["02"]])
    assert "watershed 02: OSError('Input/output error'); left out of the trunk" in caplog.text
    assert same_weights(alone, fit(tmp_path / "one", [["01"]]))

    def stop(line: dict[str, Any]) -> None:
        if line["update"] == 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path / "cut", [["01", "03"], ["02"]], stop)
    broken.clear()
    assert same_weights(fit(tmp_path / "cut", [["01", "03"], ["02"]]), alone)
    assert same_weights(fit(tmp_path / "alone", [["01", "03"], ["02"]]), alone)
    broken |= {"01": OSError("a"), "02": OSError("b"), "03": OSError("c")}
    with pytest.raises(RunError, match=r"^trunk: no watershed can be loaded: watershed 01: OSErr"):
        fit(tmp_path / "none", GROUPS)


def same_weights(one: Path, other: Path) -> bool:
    (first, _), (second, _) = tensor_file.read(one), tensor_file.read(other)
    return first.keys() == second.keys() and all(torch.equal(first[n], second[n]) for n in first)


def test_heads_are_trained_from_it(heads: list[HeadData], grow: Grow, tmp_path: Path) -> None:
    start = load_trunk(grow(tmp_path))
    (end,) = fit_pack(heads[:1], QUICK, CPU, tmp_path, silent, start)
    assert isinstance(end, Fitted)
    assert end.checkpoint.exists()


def test_watersheds_are_divided_evenly_among_branches() -> None:
    costs = {f"{i:08d}": 1.0 + i % 7 for i in range(23)}
    groups = trunk_branches(costs, Settings())
    assert sorted(site for group in groups for site in group) == sorted(costs)
    assert len(groups) == Settings().trunk_branches
    loads = [sum(costs[site] for site in group) for group in groups]
    assert max(loads) <= 1.2 * np.mean(loads)
    assert trunk_branches({"1": 1.0, "2": 1.0}, Settings()) == [["1"], ["2"]]


def test_some_of_many_watersheds_are_drawn_for_the_trunk() -> None:
    costs = {f"{i:08d}": 1.0 for i in range(1000)}

    def some(seed: int) -> set[str]:
        groups = trunk_branches(costs, Settings(seed=seed))
        return {site for group in groups for site in group}

    assert len(some(0)) == Settings().trunk_sites
    assert some(0) == some(0)
    assert some(0) != some(1)
