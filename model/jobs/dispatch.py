"""Hand heads to the workers that are there, as they become free.

Dask could queue all tasks at once, but then heads are grouped for the workers of the start. Here
a worker gets its next pack when it has done the last: heads that have not begun are grouped anew
whenever GPUs join or leave.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue

from distributed import Future

from model.inputs.watershed import Survey
from model.jobs.fleet import Budget, Fleet
from model.jobs.placement import pack_by_size
from model.settings import Settings
from model.training.memory import Record, device_bytes, host_bytes
from pipeline.log import get_logger
from pipeline.run.cluster import ask_for_worker

log = get_logger(__name__)
LOOK_SECONDS = 2.0  # between looks at the workers
GPU_RETURN_SECONDS = 60.0  # a worker that ended may come back; then its packs go to CPUs


@dataclass(frozen=True)
class Heads:
    """What the placement of a run's heads depends on.

    Attributes:
        costs: seconds of an update on a CPU, by site number.
        survey: sizes of the watersheds.
        record: of the store.
        settings: of the run.
    """

    costs: Mapping[str, float]
    survey: Survey
    record: Record
    settings: Settings

    def one_by_one(self, sites: Sequence[str]) -> list[list[str]]:
        """Packs of one head, the costliest first."""
        return [[site] for site in sorted(sites, key=lambda site: (-self.costs[site], site))]

    def packs(self, sites: Sequence[str], gpus: int, budget: Budget) -> list[list[str]]:
        """Packs of similar size for GPUs; the deck's baselines train head by head."""
        if self.settings.windows:
            return self.one_by_one(sites)
        cells = {site: self.survey.cells[site] for site in sites}
        longest, paths = 0.0, {}  # a pack's longest flow path is at most that of its smaller heads
        for site in sorted(sites, key=lambda site: (cells[site], site)):
            longest = paths[site] = max(longest, self.survey.paths[site])

        def capacity(site: str) -> int:
            on_device = device_bytes(cells[site], paths[site], self.record, self.settings)
            most = budget.device // on_device
            if budget.host is not None:
                most = min(most, budget.host // host_bytes(cells[site], self.record))
            return max(1, most)

        return pack_by_size(cells, capacity, gpus)


class Dispatcher:
    """Packs of a run's heads, in training and still to train.

    Args:
        fleet: the workers.
        heads: of the run.
        submit: submits a pack, to a GPU or not.
    """

    def __init__(
        self, fleet: Fleet, heads: Heads, submit: Callable[[list[str], bool], Future]
    ) -> None:
        self.fleet, self.heads, self.submit = fleet, heads, submit
        self.waiting: deque[list[str]] = deque(heads.one_by_one(list(heads.costs)))
        self.grouped_for: tuple[int, Budget] | None = None
        self.share = 1.0  # of the budget, less after a pack that was too large
        self.training: dict[Future, tuple[list[str], bool]] = {}
        self.had_gpu = time.monotonic()
        self.asked: Future | None = None  # for a worker, while there is none

    def run(self) -> Iterator[tuple[list[str], Future]]:
        """Yield each pack with its future when that has ended, until no head is left."""
        ended: SimpleQueue[Future] = SimpleQueue()
        looked = time.monotonic()
        while self.waiting or self.training:
            if time.monotonic() - looked > LOOK_SECONDS:
                self.fleet.refresh()
                looked = time.monotonic()
            self._take_back_lost()
            self._ask_for_worker()
            for future in self._hand_out():
                future.add_done_callback(ended.put)
            try:
                future = ended.get(timeout=LOOK_SECONDS)
            except Empty:
                continue
            if future in self.training:  # else it was taken back
                yield self.training.pop(future)[0], future

    def halve(self, sites: Sequence[str]) -> None:
        """Train heads in packs half as large, as their pack took more memory than estimated."""
        self.share /= 2
        self.waiting.appendleft(list(sites))

    def _hand_out(self) -> list[Future]:
        """Submit as many packs as there are free GPUs, or threads where there is no GPU."""
        on_gpu = bool(self.fleet.gpus)
        if not on_gpu and self.fleet.waits:
            return []
        self._group()
        places = len(self.fleet.gpus) if on_gpu else self.fleet.threads
        taken = sum(gpu == on_gpu for _, gpu in self.training.values())
        futures = []
        for _ in range(min(places - taken, len(self.waiting))):
            pack = self.waiting.popleft()
            future = self.submit(pack, on_gpu)
            self.training[future] = pack, on_gpu
            futures.append(future)
        return futures

    def _group(self) -> None:
        """Group what is waiting for the workers that are there, if these have changed."""
        group: tuple[int, Budget] | None = None
        if self.fleet.gpus:
            budget = self.fleet.budget
            group = len(self.fleet.gpus), Budget(int(budget.device * self.share), budget.host)
        if group != self.grouped_for:
            sites = [site for pack in self.waiting for site in pack]
            packs = self.heads.packs(sites, *group) if group else self.heads.one_by_one(sites)
            self.waiting, self.grouped_for = deque(packs), group

    def _ask_for_worker(self) -> None:
        """Say that no worker is left, and have an adaptive scheduler start one."""
        if self.fleet.workers:
            self.asked = None
        elif self.asked is None:
            sites = sum(map(len, self.waiting)) + sum(len(one) for one, _ in self.training.values())
            log.warning("no worker is left: %d heads wait for one", sites)
            self.asked = ask_for_worker(self.fleet.client)

    def _take_back_lost(self) -> None:
        """Take packs back from GPUs that have gone for good, if there are CPUs instead."""
        now = time.monotonic()
        if self.fleet.gpus or self.fleet.waits:
            self.had_gpu = now
        if not self.fleet.threads or now - self.had_gpu < GPU_RETURN_SECONDS:
            return
        for future in [future for future, (_, on_gpu) in self.training.items() if on_gpu]:
            sites, _ = self.training.pop(future)
            future.cancel()
            self.waiting.extend([site] for site in sites)
            self.grouped_for = None
