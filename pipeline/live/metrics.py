"""Gauges of runs, blocks and heads on the `/metrics` of Dask's scheduler, for Prometheus."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from pipeline.live.board import Board
from pipeline.live.stages import PipelineStatus
from pipeline.live.training import HeadState, TrainingStatus

if TYPE_CHECKING:
    from prometheus_client.core import GaugeMetricFamily

HEAD_STATES: tuple[HeadState, ...] = ("waiting", "training", "done", "failed")


class LiveCollector:
    """Gauges of the runs that run now, for the registry of prometheus_client.

    Runs are added up. Of a head that two runs train, the later run counts.

    Args:
        board: the runs of the scheduler.
    """

    def __init__(self, board: Board) -> None:
        self.board = board

    def describe(self) -> Iterator[GaugeMetricFamily]:
        """The gauges' names, without values."""
        return iter(())

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """The gauges."""
        from prometheus_client.core import GaugeMetricFamily

        running = [one.status for one in self.board.runs.values() if one.state == "running"]
        pipelines = [one for one in running if isinstance(one, PipelineStatus)]
        trainings = [one for one in running if isinstance(one, TrainingStatus)]
        blocks = [one.stages["regrid"] for one in pipelines if "regrid" in one.stages]
        counts = {
            "domst_runs_running": ("Runs that run", len(running)),
            "domst_blocks": ("Blocks of these runs", sum(len(one.seen) for one in blocks)),
            "domst_blocks_done": ("Blocks that are done", sum(len(one.done) for one in blocks)),
            "domst_blocks_failed": ("Blocks that failed", sum(len(one.failed) for one in blocks)),
            "domst_blocks_retried": ("Blocks begun again", sum(one.retried for one in blocks)),
            "domst_rasters_done": ("Rasters done", sum(one.rasters_done for one in pipelines)),
            "domst_raw_bytes_done": (
                "Bytes of raw files done",
                sum(one.bytes_done for one in pipelines),
            ),
            **{
                f"domst_heads_{state}": (
                    f"Heads in the state {state}",
                    sum(one.count(state) for one in trainings),
                )
                for state in HEAD_STATES
            },
        }
        for name, (text, value) in counts.items():
            yield GaugeMetricFamily(name, text, value=value)
        heads = {site: head for one in trainings for site, head in one.heads.items()}
        gauges = {
            "domst_head_update": ("Update of a head", lambda head: head.update),
            "domst_head_loss": ("Loss at its last validation", lambda head: head.loss),
            "domst_head_validation_nse": ("NSE at its last validation", lambda head: head.nse),
        }
        for name, (text, value_of) in gauges.items():
            family = GaugeMetricFamily(name, text, labels=["head"])
            for site, head in heads.items():
                if math.isfinite(value_of(head)):
                    family.add_metric([site], value_of(head))
            yield family
