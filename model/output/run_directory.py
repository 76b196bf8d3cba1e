"""The run directory: everything that one training writes.

run.yaml            resolved settings, watersheds, versions, git revision, the store's provenance
metrics.jsonl       one line per head and validation
metrics.json        the final scores; null where a score is undefined
checkpoints/        <site_no>.safetensors, .json (its scores) and .jsonl (its validations);
                    seed+K/ has the networks of further seeds
predictions.zarr    observed and simulated discharge of every head
hydrographs/        <site_no>.png
report.html         scores, map and hydrographs on one page
log.txt
lease.json          who writes the directory, while somebody does
"""

from __future__ import annotations

import importlib.metadata
import json
import logging
import math
import shlex
import shutil
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

from model.output.journal import append_line, put_together, write_text
from model.settings import Settings
from pipeline.errors import InputError, RunError
from pipeline.json_text import as_json
from pipeline.log import collect_warnings, handling
from pipeline.store.fence import remove_partial_files, require_lease
from pipeline.store.lease import hold_lease

METRICS = ("title", "synthetic", "variant", "split")  # of metrics.json, beside its heads
SCORES = (
    "site_no",
    "nse",
    "nse_low",
    "nse_high",
    "kge",
    "pbias",
    "peak_error",
    "peak_lag",
)  # of a head
RUN_YAML = ("settings", "provenance", "store", "sites", "versions", "revision")  # in this order
EXPECTED_YAML = "expected the run.yaml of a training"
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
        lease: id of the lease that this run holds on the folder; with it, what is written of heads
            is written only while the lease is held.
    """

    def __init__(self, folder: Path, lease: str | None = None) -> None:
        self.folder, self.lease = folder, lease
        self.checkpoints = folder / "checkpoints"
        self.hydrographs = folder / "hydrographs"
        self.predictions = folder / "predictions.zarr"

    def __repr__(self) -> str:
        return f"Run({str(self.folder)!r})"

    @property
    def begun(self) -> bool:
        """Whether `--resume` finds something to go on with."""
        return (self.folder / "run.yaml").exists()

    @property
    def resume_hint(self) -> str:
        """What becomes of an unfinished training, and the command that goes on with it."""
        command = f"domst train --resume --run {shlex.quote(str(self.folder))}"
        return f"finished work is kept, and `{command}` continues from there"

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

    def networks(self, settings: Settings) -> list[Path]:
        """Folders of the checkpoints of a head's networks, one per seed."""
        more = [self.checkpoints / f"seed+{k}" for k in range(1, settings.seeds)]
        return [self.checkpoints, *more]

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
        before = self.about()
        if before is None:
            return
        if "heads" in before:
            raise InputError(f"{path}: predictions of {before['heads']}: expected a training")
        found_in = {**before["settings"], **{k: before.get(k) for k in ("provenance", "sites")}}
        chosen = {
            **settings.model_dump(mode="json"),
            "provenance": provenance,
            "sites": list(sites),
        }
        for name in {**chosen, **found_in}:
            found = found_in.get(name)
            if name in chosen and found == chosen[name]:
                continue
            other = f"and not {chosen[name]!r}" if name in chosen else "and unknown here"
            raise InputError(
                f"{path}: {name} is {found!r} {other}: expected the same training, or another --run"
            )

    def recorded(self) -> Recorded:
        """Read run.yaml.

        Raises:
            InputError: there is none, it is of another version, or of a prediction.
        """
        path = self.folder / "run.yaml"
        about = self.about()
        if about is None:
            raise InputError(f"{path}: not found: expected the run.yaml of a training")
        if "heads" in about:
            raise InputError(f"{path}: predictions of {about['heads']}: expected a training")
        try:
            return Recorded(Settings(**about["settings"]), about["store"], about["sites"])
        except ValidationError as error:
            names = ", ".join(str(one["loc"][0]) for one in error.errors() if one["loc"])
            raise InputError(
                f"{path}: settings {names} are unknown or out of range: "
                "expected a run of this version"
            ) from error
        except (KeyError, TypeError) as error:
            raise InputError(f"{path}: {error}: expected a run of this version") from error

    @property
    def predicts(self) -> bool:
        """Whether this is a prediction, made with the heads of another run."""
        return "heads" in (self.about() or ())

    def about(self) -> dict[str, Any] | None:
        """Return the content of run.yaml; None if there is none.

        Raises:
            InputError: it is torn, or something else.
        """
        path = self.folder / "run.yaml"
        try:
            about = yaml.safe_load(path.read_bytes())
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError, yaml.YAMLError) as error:
            reason = " ".join(str(error).split())
            raise InputError(f"{path}: not readable ({reason}): {EXPECTED_YAML}") from error
        whole = isinstance(about, dict) and all(key in about for key in RUN_YAML)
        if not whole or not isinstance(about["settings"], dict):
            raise InputError(f"{path}: torn, or something else: {EXPECTED_YAML}")
        return about

    @contextmanager
    def held(self, take_over: bool = False) -> Iterator[Run]:
        """Hold the directory while a training writes it; made if missing.

        Args:
            take_over: whether to take it from a run that seems to be alive.

        Yields:
            This run with its lease.

        Raises:
            RunError: another run holds the directory, or it cannot be written.
        """
        self._make_folders()
        with hold_lease(self.folder, take_over) as lease:
            remove_partial_files(self.folder, lease.run)
            yield Run(self.folder.resolve(), lease.run)

    def require_held(self) -> None:
        """Require that the lease of this run, if it has one, is still held.

        Raises:
            RunError: it is not.
        """
        if self.lease is not None:
            require_lease(self.folder, self.lease)

    def _make_folders(self) -> None:
        try:
            for folder in (self.folder, self.checkpoints, self.hydrographs):
                folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(
                f"{self.folder}: not written ({error.strerror or error}): expected a folder, or a "
                "place for one, that can be written"
            ) from error

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
        self._make_folders()
        if not (self.folder / "run.yaml").exists():
            write_text(self.folder / "run.yaml", yaml.safe_dump(about, sort_keys=False))
        self.collect_lines()

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
        for left_behind in self.folder.glob(f".{self.predictions.name}.*"):
            shutil.rmtree(left_behind, ignore_errors=True)
        temporary = self.predictions.with_name(f".{self.predictions.name}.{self.lease}")
        dataset.to_zarr(temporary, encoding=encoding, consolidated=False, zarr_format=3)
        temporary.replace(self.predictions)

    def write_prediction(self, row: int, simulated: np.ndarray, observed: np.ndarray) -> None:
        """Write one head's discharge [m3 s-1] on the first T steps of the store, (T,) each."""
        group = zarr.open_group(self.predictions, mode="r+")
        for name, values in (("simulated", simulated), ("observed", observed)):
            array = group[name]
            assert isinstance(array, zarr.Array)
            array[row, : len(values)] = values.astype(np.float32)

    @contextmanager
    def logged(self) -> Iterator[list[str]]:
        """Write what the product logs meanwhile to log.txt too; yields the warnings among it."""
        handler = logging.FileHandler(self.folder / "log.txt")
        handler.setLevel(logging.INFO)
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        try:
            with handling(handler), collect_warnings() as warned:
                yield warned
        finally:
            handler.close()

    def append(self, line: dict[str, Any]) -> None:
        """Append one line to metrics.jsonl, on the client."""
        append_line(self.folder / "metrics.jsonl", line)

    def append_to_head(self, line: dict[str, Any]) -> None:
        """Append one line to the validations of its head, on the worker that trains the head.

        Raises:
            RunError: the lease is lost.
        """
        self.require_held()
        append_line(self.checkpoints / f"{line['site_no']}.jsonl", line)

    def collect_lines(self) -> None:
        """Put metrics.jsonl together from the validations of all heads."""
        put_together(self.folder / "metrics.jsonl", self.checkpoints.glob("*.jsonl"))

    def save_score(self, score: dict[str, Any]) -> None:
        """Save the scores of a finished head, by which a resumed run skips the head.

        Raises:
            RunError: the lease is lost.
        """
        self.require_held()
        write_text(self._score_path(score["site_no"]), json.dumps(score))

    def score(self, site_no: str) -> dict[str, Any] | None:
        """Return the scores of a finished head; None if it is not finished, or they are torn."""
        try:
            score = json.loads(self._score_path(site_no).read_bytes())
        except (FileNotFoundError, ValueError):
            return None
        whole = isinstance(score, dict) and score.get("site_no") == site_no
        return {"warnings": [], **score} if whole else None

    def _score_path(self, site_no: str) -> Path:
        return self.checkpoints / f"{site_no}.json"

    def finished(self) -> dict[str, Any] | None:
        """Return the content of metrics.json, NaN for null; None while the run is not finished.

        Raises:
            InputError: it is torn, or something else.
        """
        path = self.folder / "metrics.json"
        try:
            metrics = json.loads(path.read_bytes())
            for head in metrics["heads"]:
                head |= {name: math.nan for name, value in head.items() if value is None}
                _ = [head[name] for name in SCORES]
            _ = [metrics[name] for name in METRICS]
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(
                f"{path}: not readable ({error!r}): expected the scores of a run of this version; "
                "without the file, `domst train --resume` writes it again"
            ) from error
        found: dict[str, Any] = metrics
        return found

    def finish(self, metrics: dict[str, Any]) -> None:
        """Write metrics.json; raises RunError if the lease is lost."""
        self.require_held()
        write_text(self.folder / "metrics.json", as_json(metrics, indent=2) + "\n")


def git_revision() -> str | None:
    """Return the checkout's git revision, with a + if files were changed; None outside one."""
    here = Path(__file__).resolve().parent
    git = ["git", "-C", str(here), "describe", "--always", "--abbrev=40", "--dirty=+"]
    try:
        done = subprocess.run(git, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    return done.stdout.strip() or None
