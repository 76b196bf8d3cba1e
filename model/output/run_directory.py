"""The run directory: everything that one training writes, and the rules for writing it.

run.yaml            resolved settings, versions, git revision, the store's provenance
metrics.jsonl       one line a head and validation
metrics.json        the final scores; null where there is none
checkpoints/        <site_no>.safetensors
predictions.zarr    discharge, observed and simulated, of every head
hydrographs/        <site_no>.png
report.html         the page that shows it all
log.txt
"""

from __future__ import annotations

import importlib.metadata
import json
import logging
import math
import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
import yaml
import zarr
from pydantic import ValidationError

from model.settings import Settings
from pipeline.errors import InputError, RunError

VERSIONED = ("dom-st", "torch", "dask", "distributed", "numpy", "xarray", "zarr")


class Run:
    """A run directory. Creating one is idempotent; a directory of another run is refused."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.checkpoints = folder / "checkpoints"
        self.hydrographs = folder / "hydrographs"
        self.predictions = folder / "predictions.zarr"

    def require_same(self, settings: Settings, provenance: str) -> None:
        """Make sure that what is here, if anything, is of the same training.

        Args:
            provenance: digest of the store's provenance.

        Raises:
            InputError: the directory holds a run with other settings or of another store.
        """
        path = self.folder / "run.yaml"
        if not path.exists():
            return
        before = yaml.safe_load(path.read_text())
        found_in = {**before["settings"], "provenance": before["provenance"]}
        chosen = {**settings.model_dump(mode="json"), "provenance": provenance}
        for name, value in chosen.items():
            found = found_in.get(name)
            if found != value:
                raise InputError(
                    f"{path}: {name} is {found!r} and not {value!r}: "
                    "expected the same training, or another --run"
                )

    def recorded(self) -> tuple[Settings, str]:
        """Settings and store of the run that is here.

        Raises:
            InputError: there is none, it is of another version, or it trained nothing.
        """
        path = self.folder / "run.yaml"
        if not path.exists():
            raise InputError(f"{path}: not found: expected a run to go on with")
        about = yaml.safe_load(path.read_text())
        if "heads" in about:
            raise InputError(f"{path}: predictions of {about['heads']}: expected a run that trains")
        try:
            return Settings(**about["settings"]), about["store"]
        except (ValidationError, KeyError, TypeError) as error:
            raise InputError(
                f"{path}: {str(error).splitlines()[0]}: expected a run of this version"
            ) from error

    @property
    def predicts(self) -> bool:
        """Whether what is here was made with the heads of another run."""
        path = self.folder / "run.yaml"
        return path.exists() and "heads" in yaml.safe_load(path.read_text())

    def begin(
        self, settings: Settings, store: str, provenance: str, heads: Path | None = None
    ) -> None:
        """Write run.yaml if it is not there.

        Args:
            provenance: digest of the store's provenance.
            heads: the run that trained the heads, if not this one.

        Raises:
            InputError: the directory holds a run with other settings or of another store.
            RunError: it cannot be written.
        """
        self.require_same(settings, provenance)
        about = {
            "settings": settings.model_dump(mode="json"),
            "provenance": provenance,
            "store": str(store),
            **({"heads": str(heads)} if heads else {}),
            "versions": {name: importlib.metadata.version(name) for name in VERSIONED},
            "revision": git_revision(),
        }
        try:
            for folder in (self.folder, self.checkpoints, self.hydrographs):
                folder.mkdir(parents=True, exist_ok=True)
            if not (self.folder / "run.yaml").exists():
                write_text(self.folder / "run.yaml", yaml.safe_dump(about, sort_keys=False))
        except OSError as error:
            raise RunError(
                f"{self.folder}: not written ({error.strerror or error}): expected a folder, or a "
                "place for one, that can be written"
            ) from error

    def prepare_predictions(
        self, sites: Sequence[str], times: pd.DatetimeIndex, title: str
    ) -> None:
        """Lay out predictions.zarr: one chunk a head, so that heads write without waiting."""
        if self.predictions.exists():
            return
        shape = (len(sites), len(times))
        missing = np.full(shape, np.nan, np.float32)
        about = {"units": "m3 s-1", "standard_name": "water_volume_transport_in_river_channel"}
        dataset = xr.Dataset(
            {
                "simulated": (("site_no", "time"), missing, about),
                "observed": (("site_no", "time"), missing, about),
            },
            {"site_no": np.array(sites, dtype=object), "time": times},
            {"title": title},
        )
        encoding = {name: {"chunks": (1, len(times))} for name in dataset.data_vars}
        temporary = self.predictions.with_name(f".{self.predictions.name}.{os.getpid()}")
        dataset.to_zarr(temporary, encoding=encoding, consolidated=False, zarr_format=3)
        os.replace(temporary, self.predictions)

    def write_prediction(self, row: int, simulated: np.ndarray, observed: np.ndarray) -> None:
        """One head's discharge [m3 s-1] on the first steps of the store, (T,) each."""
        group = zarr.open_group(self.predictions, mode="r+")
        for name, values in (("simulated", simulated), ("observed", observed)):
            array = group[name]
            assert isinstance(array, zarr.Array)
            array[row, : len(values)] = values.astype(np.float32)

    @contextmanager
    def logged(self) -> Iterator[None]:
        """What the product's loggers say meanwhile also goes to log.txt."""
        handler = logging.FileHandler(self.folder / "log.txt")
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        loggers = [logging.getLogger(name) for name in ("model", "pipeline")]
        for logger in loggers:
            logger.addHandler(handler)
            logger.setLevel(logging.INFO)
        try:
            yield
        finally:
            for logger in loggers:
                logger.removeHandler(handler)
            handler.close()

    def append(self, line: dict[str, Any]) -> None:
        """One line of metrics.jsonl."""
        with (self.folder / "metrics.jsonl").open("a") as file:
            file.write(as_json(line) + "\n")

    def score_path(self, site_no: str) -> Path:
        """A finished head's scores, kept so that a resumed run does not do it again."""
        return self.checkpoints / f"{site_no}.json"

    def finished(self) -> dict[str, Any] | None:
        """What metrics.json holds, if the run has come to its end; null is NaN."""
        path = self.folder / "metrics.json"
        if not path.exists():
            return None
        metrics: dict[str, Any] = json.loads(path.read_text())
        for head in metrics["heads"]:
            head |= {name: math.nan for name, value in head.items() if value is None}
        return metrics

    def finish(self, metrics: dict[str, Any]) -> None:
        """Write metrics.json."""
        write_text(self.folder / "metrics.json", as_json(metrics, indent=2) + "\n")


def as_json(value: Any, indent: int | None = None) -> str:
    """JSON, which has no NaN: null stands for it."""

    def known(one: Any) -> Any:
        if isinstance(one, dict):
            return {name: known(part) for name, part in one.items()}
        if isinstance(one, list):
            return [known(part) for part in one]
        return None if isinstance(one, float) and not math.isfinite(one) else one

    return json.dumps(known(value), indent=indent, allow_nan=False)


def write_text(path: Path, text: str) -> None:
    """Write a text file, all or nothing."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text)
    os.replace(temporary, path)


def git_revision() -> str | None:
    """The checkout's revision, with a + where it was changed; None outside a checkout."""
    here = Path(__file__).resolve().parent
    git = ["git", "-C", str(here), "describe", "--always", "--abbrev=40", "--dirty=+"]
    try:
        done = subprocess.run(git, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    return done.stdout.strip() or None
