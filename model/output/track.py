"""Send a training to TensorBoard or MLflow: what the client hears of the heads."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Any

from model.output.progress import Progress
from model.output.run_directory import Run
from model.settings import Settings
from pipeline.errors import InputError
from pipeline.live.training import number

EXPERIMENT = "dom-st"  # of MLflow, unless MLFLOW_EXPERIMENT_NAME names another
MAX_PARAM = 500  # characters of a setting that MLflow takes
CURVES = ("loss", "validation_nse")


def make_tracker(tracking: str, run: Run, settings: Settings) -> Progress:
    """Make what is told about a training and tells others.

    Args:
        tracking: "tensorboard" or "mlflow".
        run: the run directory.
        settings: of the run.

    Raises:
        InputError: the library is missing, or MLflow cannot be reached as its variables say.
    """
    if find_spec(tracking) is None:
        raise InputError(
            f"--track {tracking}: the package is missing: expected `pip install dom-st[{tracking}]`"
        )
    return TensorBoard(run) if tracking == "tensorboard" else MLflow(run, settings)


class TensorBoard(Progress):
    """Writes curves of loss and NSE into the folder `tensorboard` of the run."""

    def __init__(self, run: Run) -> None:
        self.folder = run.folder / "tensorboard"

    def begin(self, sites: Sequence[str], updates: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.writer = SummaryWriter(str(self.folder))

    def trunk(self, line: Mapping[str, Any], updates: int) -> None:
        self.update(line)

    def update(self, line: Mapping[str, Any]) -> None:
        for name, value in curve_values(line).items():
            self.writer.add_scalar(name, value, line["update"])

    def head_done(self, score: dict[str, Any]) -> None:
        self.writer.add_scalar(f"nse/{score['site_no']}", score["nse"], score["updates"])

    def end(self) -> None:
        self.writer.close()


class MLflow(Progress):
    """Sends curves, settings and scores to the server of MLFLOW_TRACKING_URI.

    A training that is resumed goes on with its run of MLflow, found by the run directory.
    """

    def __init__(self, run: Run, settings: Settings) -> None:
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException

        self.folder, self.settings = str(run.folder.resolve()), settings
        try:
            self.client = MlflowClient()
            name = os.environ.get("MLFLOW_EXPERIMENT_NAME", EXPERIMENT)
            found = self.client.get_experiment_by_name(name)
            self.experiment = found.experiment_id if found else self.client.create_experiment(name)
        except (MlflowException, ImportError) as error:
            reason = " ".join(str(error).split())
            raise InputError(
                f"--track mlflow: {reason}: expected MLFLOW_TRACKING_URI, the address of a server"
            ) from error
        self.left: set[str] = set()

    def begin(self, sites: Sequence[str], updates: int) -> None:
        from mlflow.entities import Param

        self.left = set(sites)
        tags = {"domst.run": self.folder}
        filters = f"tags.`domst.run` = '{self.folder}'"
        earlier = self.client.search_runs([self.experiment], filters, max_results=1)
        if earlier:
            self.id = earlier[0].info.run_id
            return
        name = os.path.basename(self.folder)
        self.id = self.client.create_run(self.experiment, tags=tags, run_name=name).info.run_id
        values = self.settings.model_dump(mode="json").items()
        params = [Param(key, str(value)[:MAX_PARAM]) for key, value in values]
        self.client.log_batch(self.id, params=params)

    def trunk(self, line: Mapping[str, Any], updates: int) -> None:
        self.update(line)

    def update(self, line: Mapping[str, Any]) -> None:
        for name, value in curve_values(line).items():
            self._log(name, value, line["update"])

    def head_done(self, score: dict[str, Any]) -> None:
        self.left.discard(score["site_no"])
        if math.isfinite(score["nse"]):
            self._log(f"nse/{score['site_no']}", score["nse"], score["updates"])

    def end(self) -> None:
        from mlflow import flush_async_logging

        flush_async_logging()
        self.client.set_terminated(self.id, "FAILED" if self.left else "FINISHED")

    def _log(self, name: str, value: float, step: int) -> None:
        """Log a number from a thread of MLflow's: the caller must not wait for a server."""
        self.client.log_metric(self.id, name, value, step=step, synchronous=False)


def curve_values(line: Mapping[str, Any]) -> dict[str, float]:
    """Return the numbers of a validation by curve, without those that are not defined."""
    values = {f"{name}/{line['site_no']}": number(line[name]) for name in CURVES}
    return {name: value for name, value in values.items() if math.isfinite(value)}
