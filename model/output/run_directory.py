"""The run directory: everything that one training writes.

run.yaml            resolved settings, watersheds, versions, git revision, the store's provenance
metrics.jsonl       one line per head and validation
metrics.json        the final scores; null where a score is undefined
checkpoints/        <site_no>.safetensors
predictions.zarr    observed and simulated discharge of every head
hydrographs/        <site_no>.png
report.html         scores and hydrographs on one page
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
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Recorded:
    """What run.yaml says of a run: settings, path or URL of the store, and site numbers."""

    settings: Settings
    store: str
    sites: list[str]


class Run:
    """A run directory.

    Args:
        folder: made by `begin`; it may hold an unfinished or a finished run.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.checkpoints = folder / "checkpoints"
        self.hydrographs = folder / "hydrographs"
        self.predictions = folder / "predictions.zarr"

    def __repr__(self) -> str:
        return f"Run({str(self.folder)!r})"

    @property
    def metrics(self) -> dict[str, Any]:
        """The content of metrics.json, NaN for null.

        Raises:
            InputError: the run is not finished.
        """
        metrics = self.finished()
        if metrics is None:
            raise InputError(f"{self.folder}: holds no metrics.json: expected a finished run")
        return metrics

    @property
    def scores(self) -> pd.DataFrame:
        """Scores of the test years, one row per head by site number; raises as `metrics`."""
        return pd.DataFrame(self.metrics["heads"]).set_index("site_no")

    def open_predictions(self) -> xr.Dataset:
        """Open observed and simulated discharge, both (site_no, time) [m3 s-1]."""
        return xr.open_zarr(self.predictions, consolidated=False, chunks=None)

    def require_same(self, settings: Settings, provenance: str, sites: Sequence[str]) -> None:
        """Make sure that a run that is already here is of the same training.

        Args:
            settings: of the training that is asked for.
            provenance: digest of its store's provenance.
            sites: its site numbers.

        Raises:
            InputError: the directory holds a run with other settings, watersheds or another store.
        """
        path = self.folder / "run.yaml"
        if not path.exists():
            return
        before = yaml.safe_load(path.read_text())
        found_in = {**before["settings"], **{k: before.get(k) for k in ("provenance", "sites")}}
        chosen = {
            **settings.model_dump(mode="json"),
            "provenance": provenance,
            "sites": list(sites),
        }
        for name, value in chosen.items():
            found = found_in.get(name)
            if found != value:
                raise InputError(
                    f"{path}: {name} is {found!r} and not {value!r}: "
                    "expected the same training, or another --run"
                )

    def recorded(self) -> Recorded:
        """Read run.yaml.

        Raises:
            InputError: there is none, it is of another version, or of a prediction.
        """
        path = self.folder / "run.yaml"
        if not path.exists():
            raise InputError(f"{path}: not found: expected the run.yaml of a training")
        about = yaml.safe_load(path.read_text())
        if "heads" in about:
            raise InputError(f"{path}: predictions of {about['heads']}: expected a training")
        try:
            return Recorded(Settings(**about["settings"]), about["store"], about["sites"])
        except (ValidationError, KeyError, TypeError) as error:
            raise InputError(
                f"{path}: {str(error).splitlines()[0]}: expected a run of this version"
            ) from error

    @property
    def predicts(self) -> bool:
        """Whether this is a prediction, made with the heads of another run."""
        path = self.folder / "run.yaml"
        return path.exists() and "heads" in yaml.safe_load(path.read_text())

    def begin(
        self,
        settings: Settings,
        store: str,
        provenance: str,
        sites: Sequence[str],
        *,
        heads: Path | None = None,
    ) -> None:
        """Make the directory and write run.yaml if it is not there.

        Args:
            settings: of the run, resolved.
            store: path or URL.
            provenance: digest of the store's provenance.
            sites: site numbers of the heads.
            heads: of a prediction, the run that trained the heads.

        Raises:
            InputError: as `require_same`.
            RunError: the directory cannot be written.
        """
        self.require_same(settings, provenance, sites)
        about = {
            "settings": settings.model_dump(mode="json"),
            "provenance": provenance,
            "store": str(store),
            "sites": list(sites),
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
        """Lay out predictions.zarr, one chunk per head, so that heads write independently."""
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
        """Write one head's discharge [m3 s-1] on the first T steps of the store, (T,) each."""
        group = zarr.open_group(self.predictions, mode="r+")
        for name, values in (("simulated", simulated), ("observed", observed)):
            array = group[name]
            assert isinstance(array, zarr.Array)
            array[row, : len(values)] = values.astype(np.float32)

    @contextmanager
    def logged(self) -> Iterator[None]:
        """Write what the product logs meanwhile to log.txt too."""
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
        """Append one line to metrics.jsonl."""
        with (self.folder / "metrics.jsonl").open("a") as file:
            file.write(as_json(line) + "\n")

    def score_path(self, site_no: str) -> Path:
        """Return the path of a finished head's scores, by which a resumed run skips the head."""
        return self.checkpoints / f"{site_no}.json"

    def finished(self) -> dict[str, Any] | None:
        """Return the content of metrics.json, NaN for null; None while the run is not finished."""
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
    """Return a value as JSON, with null for NaN and infinity."""

    def known(one: Any) -> Any:
        if isinstance(one, dict):
            return {name: known(part) for name, part in one.items()}
        if isinstance(one, list):
            return [known(part) for part in one]
        return None if isinstance(one, float) and not math.isfinite(one) else one

    return json.dumps(known(value), indent=indent, allow_nan=False)


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text)
    os.replace(temporary, path)


def git_revision() -> str | None:
    """Return the checkout's git revision, with a + if files were changed; None outside one."""
    here = Path(__file__).resolve().parent
    git = ["git", "-C", str(here), "describe", "--always", "--abbrev=40", "--dirty=+"]
    try:
        done = subprocess.run(git, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    return done.stdout.strip() or None
