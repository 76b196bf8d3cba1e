"""Files of tensors: whole or not at all, and what is done where one is damaged all the same."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import pytest
import torch
from torch import Tensor

from model.network import tensor_file
from pipeline.errors import InputError

TENSORS = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor(7.0), "c": torch.arange(2)}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Of a file with two versions."""
    path = tmp_path / "folder" / "01.safetensors"
    for update in (25, 50):
        tensor_file.write(path, TENSORS, {"update": update}, keep_previous=True)
    return path


def names(path: Path) -> list[str]:
    return sorted(one.name.removeprefix(path.name) for one in path.parent.iterdir())


def test_weights_of_another_version_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "01.safetensors"
    tensor_file.write(path, {"a": torch.ones(1)}, {"format": "dom-st head 1", "site_no": "01"})
    for read in (tensor_file.read, tensor_file.read_good):
        with pytest.raises(InputError, match=r"01\.safetensors: is a dom-st head 1: expected a do"):
            read(path)
    tensor_file.write(path, {"a": torch.ones(1)}, {"site_no": "01"})
    assert tensor_file.read(path) == ({"a": torch.ones(1)}, {"site_no": "01"})


def damages(content: bytes) -> Iterator[bytes]:
    """A file cut at any byte, and zero from there on or with the byte changed."""
    for i in range(len(content)):
        yield content[:i]
        if i % 2:
            yield content[:i] + bytes(len(content) - i)
        else:
            yield content[:i] + bytes([content[i] ^ 1]) + content[i + 1 :]


def test_any_damage_is_seen(path: Path) -> None:
    content = path.read_bytes()
    found = tensors, about = tensor_file.read(path)
    assert same(tensors, TENSORS)
    assert about == {"update": 50}
    harmless = 0
    for damaged in damages(content):
        if damaged == content:
            continue
        path.write_bytes(damaged)
        try:
            tensors, about = tensor_file.read(path)
        except InputError:
            continue
        assert same(tensors, found[0])
        assert about == found[1]
        harmless += 1
    assert harmless < 30, "only blanks of JSON may be changed"


@pytest.mark.parametrize("damage", [b"", b"no checkpoint", None])
def test_a_damaged_file_is_set_aside_and_the_one_before_it_used(
    path: Path, damage: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    torn = path.read_bytes()[:-1] if damage is None else damage
    path.write_bytes(torn)
    for _ in range(2):
        found = tensor_file.read_good(path)
        assert found is not None
        assert found[1] == {"update": 25}
        assert names(path) == [".damaged", ".previous"]
    (record,) = caplog.records
    assert f"{path}: damaged" in record.getMessage()
    assert path.with_name(f"{path.name}.damaged").read_bytes() == torn
    tensor_file.previous(path).write_bytes(torn)
    assert tensor_file.read_good(path) is None
    assert names(path) == [".damaged", ".previous.damaged"]


def test_a_write_that_fails_changes_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    before = {one: one.read_bytes() for one in path.parent.iterdir()}
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space"):
            tensor_file.write(path, TENSORS, {"update": 75}, keep_previous=True)
    assert {one: one.read_bytes() for one in path.parent.iterdir()} == before


def test_a_file_is_on_the_disk_before_it_has_its_name(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[str, object]] = []
    fsync, replace = os.fsync, os.replace

    def sync(file: int) -> None:
        calls.append(("sync", stat.S_ISDIR(os.fstat(file).st_mode)))
        fsync(file)

    def rename(one: Path, other: Path) -> None:
        calls.append(("rename", other))
        replace(one, other)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(os, "replace", rename)
    tensor_file.write(path, TENSORS, {"update": 75}, keep_previous=True)
    renames = [("rename", tensor_file.previous(path)), ("rename", path)]
    assert calls == [("sync", False), *renames, ("sync", True)]


def test_the_mode_follows_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        tensor_file.write(tmp_path / "01.safetensors", TENSORS, {})
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "01.safetensors").stat().st_mode) == 0o640


def test_a_reader_sees_one_version_while_others_write(tmp_path: Path) -> None:
    """Two writers of one process, so of one number, as two processes of two hosts may be."""
    path = tmp_path / "01.safetensors"
    ended = Event()

    def write() -> int:
        version = 0
        while not ended.is_set():
            version += 1
            tensors = {"a": torch.full((1000,), version), "b": torch.full((3, 1), version)}
            tensor_file.write(path, tensors, {"version": version}, keep_previous=True)
        return version

    with ThreadPoolExecutor(2) as pool:
        writers = [pool.submit(write) for _ in range(2)]
        seen: set[int] = set()
        try:
            while len(seen) < 60 and not any(writer.done() for writer in writers):
                found = tensor_file.read_good(path)
                if found is None:
                    assert not seen
                    continue
                tensors, about = found
                values = {int(x) for value in tensors.values() for x in value.flatten()}
                assert values == {about["version"]}
                seen.add(about["version"])
        finally:
            ended.set()
        assert all(writer.result() >= 10 for writer in writers)
    assert names(path) == ["", ".previous"]


def test_a_description_is_json(path: Path) -> None:
    """As the format says: any library of safetensors can read it."""
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as file:
        about = json.loads((file.metadata() or {})["about"])
        assert sorted(file.keys()) == sorted(TENSORS)
    assert about["update"] == 50
    assert about["format"] == tensor_file.FORMAT
