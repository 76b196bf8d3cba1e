"""A prediction that takes the place of an older one: at every moment one of them is whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from model.jobs.predict import replacing
from pipeline.errors import RunError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An older prediction."""
    folder = tmp_path / "predicted"
    make(folder, "old")
    return folder


def make(folder: Path, text: str) -> None:
    folder.mkdir()
    (folder / "report.html").write_text(text)


def found(folder: Path) -> str:
    """Text of the one prediction that is there, alone."""
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]
    assert [path.name for path in folder.iterdir()] == ["report.html"]
    return (folder / "report.html").read_text()


def test_the_new_one_takes_the_place_of_the_old_one(folder: Path) -> None:
    with replacing(folder) as new:
        make(new, "new")
        assert (folder / "report.html").read_text() == "old"
    assert found(folder) == "new"


def test_the_old_one_stays_where_the_new_one_fails(folder: Path) -> None:
    def fail() -> None:
        with replacing(folder) as new:
            make(new, "half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert found(folder) == "old"


@pytest.mark.parametrize("error", [OSError(5, "disk"), KeyboardInterrupt()])
def test_the_old_one_is_put_back_where_the_new_one_cannot_be_moved(
    folder: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    rename = Path.rename

    def refuse(path: Path, target: Path) -> Path:
        if target == folder and path.name != "old":
            raise error
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(type(error)), replacing(folder) as new:
        make(new, "new")
    assert found(folder) == "old"


@pytest.mark.parametrize("new_text", ["new", None])
def test_one_that_was_killed_between_the_renames_is_put_back(
    folder: Path, new_text: str | None
) -> None:
    beside = folder.with_name(".predicted.new")
    beside.mkdir()
    make(beside / "of a dead run", "half")
    folder.rename(beside / "old")

    def predict() -> None:
        with replacing(folder) as new:
            assert (folder / "report.html").read_text() == "old"
            if new_text is None:
                raise RunError("failed")
            make(new, new_text)

    if new_text is None:
        with pytest.raises(RunError, match="failed"):
            predict()
    else:
        predict()
    assert found(folder) == (new_text or "old")


def test_one_prediction_of_a_folder_at_a_time(folder: Path) -> None:
    def first() -> None:
        with replacing(folder) as new:
            make(new, "first")
            with pytest.raises(RunError, match="held by a run of"), replacing(folder):
                pass
            with replacing(folder, take_over=True) as other:
                assert not new.exists()
                make(other, "second")

    with pytest.raises(RunError, match="lease of this run has ended"):
        first()
    assert found(folder) == "second"
