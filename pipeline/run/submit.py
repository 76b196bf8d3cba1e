"""Submit the tasks of a run: tables of watersheds and gauges beside blocks of regridded rasters.

    share --> regrid, one a block
    share --> cover, one a group of watersheds --> trace, likewise --> finish
    gauge, one a group of gauges ------------------------------------> finish

A few blocks come first, then the tables, then the other blocks. `share` holds the series and their
weights; it is a task, and no scattered data, so that Dask makes it again if its worker dies.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from uuid import uuid4

import dask
from distributed import Client, Future

from pipeline.live.announce import Announcer
from pipeline.log import get_logger
from pipeline.retry import retrying
from pipeline.run.delineated import save_delineated
from pipeline.run.on_worker import run_task
from pipeline.run.plan import Plan, RasterBlock
from pipeline.run.tasks import (
    BlockReport,
    Job,
    cover_group,
    finish_tables,
    gauge_groups,
    regrid_block,
    trace_group,
)
from pipeline.run.unreadable import Unreadable
from pipeline.store.lease import Lease
from pipeline.store.state import StoreState
from pipeline.store.tables import TableSpec

LOG = get_logger(__name__)
FIRST_BLOCKS, TABLES_FIRST, OTHER_BLOCKS = 2, 1, 0  # priorities


@dataclass
class Execution:
    """Tasks of a run in flight, and what came of them.

    Attributes:
        plan, state, client: of the run.
        lease: of the run.
        keep_going: whether unreadable rasters are set aside.
        blocks: by task, the block and the forcings it does.
        tables: tasks of the tables, the last of which finishes them.
        reports: of finished blocks.
        unreadable: rasters that were set aside.
        token: ends the keys of the tasks, as one scheduler may serve several runs.
        live: tells the page on the dashboard.
    """

    plan: Plan
    state: StoreState
    client: Client
    lease: Lease
    keep_going: bool = False
    blocks: dict[Future, tuple[RasterBlock, list[str]]] = field(default_factory=dict)
    tables: list[Future] = field(default_factory=list)
    reports: list[BlockReport] = field(default_factory=list)
    unreadable: dict[Unreadable, None] = field(default_factory=dict)
    token: str = field(default_factory=lambda: uuid4().hex[:8])

    def __post_init__(self) -> None:
        self.live = Announcer(self.client, self.token)


def submit(execution: Execution, todo: Sequence[RasterBlock], due: dict[int, list[str]]) -> Future:
    """Submit the tasks: names begin with their stage, which the dashboard shows.

    Returns:
        The task `share`; the others are in the execution.
    """
    plan, state, client = execution.plan, execution.state, execution.client
    token = execution.token
    here = socket.gethostname(), os.getpid()

    def submit_one(key: str, priority: int, task: Callable[..., Any], *args: Any) -> Future:
        key = f"{key}-{token}"
        return client.submit(run_task, here, task, *args, key=key, priority=priority, pure=False)

    job = Job(
        sources=plan.sources,
        min_valid={name: source.min_valid for name, source in plan.catalog.forcings.items()},
        writer=state.block_writer,
        keep_going=execution.keep_going,
        draw_rain=execution.live.heard,
    )
    with dask.config.set({"distributed.admin.large-graph-warning-threshold": "1TB"}):
        # a task, so that the scheduler keeps what it is made of
        shared = client.submit(_identity, job, key=f"share-{token}", priority=FIRST_BLOCKS)
    first = sum(client.nthreads().values())
    for position, block in enumerate(todo):
        priority = FIRST_BLOCKS if position < first else OTHER_BLOCKS
        future = submit_one(
            f"regrid-{block.name}", priority, regrid_block, shared, block, due[block.index]
        )
        execution.blocks[future] = block, due[block.index]
    if state.tables_due:
        retrying(state.begin_tables)
        retrying(
            partial(save_delineated, state.writer, plan.watersheds, plan.catalog.watersheds_path)
        )
        _submit_tables(execution, shared, submit_one)
    return shared


def _submit_tables(execution: Execution, shared: Future, submit_one: Callable[..., Future]) -> None:
    """Submit the tasks of the tables."""
    plan, writer = execution.plan, execution.state.writer
    catalog = plan.catalog
    spec = TableSpec(catalog.title, catalog.synthetic, len(plan.watersheds), plan.steps, plan.grid)
    where = str(catalog.watersheds_path)
    groups = {
        part.start: {one.site_no: one.gauged_area for one in plan.watersheds[part]}
        for part in plan.groups
    }
    if catalog.terrain is None:
        LOG.warning(
            "%d watersheds: no terrain: outlets are guessed, distances are straight ones times a "
            "factor",
            len(plan.watersheds),
        )
    covered, traced = [], []
    for part in plan.groups:
        watersheds, name = plan.watersheds[part], plan.sites[part.start]
        covered.append(
            submit_one(
                f"cover-{name}", TABLES_FIRST, cover_group, shared, writer, spec, part.start,
                watersheds, where,
            )
        )  # fmt: skip
        traced.append(submit_one(f"trace-{name}", TABLES_FIRST, trace_group, catalog, covered[-1]))
    one_file = "{site}" not in catalog.gauges.files  # which is read once
    parts = [groups] if one_file else [{first: sites} for first, sites in groups.items()]
    recorded = [
        submit_one(
            f"gauge-{plan.sites[min(part)]}", TABLES_FIRST, gauge_groups, catalog, writer, spec,
            part,
        )
        for part in parts
    ]  # fmt: skip
    finish = submit_one(
        "finish", TABLES_FIRST, finish_tables, writer, spec, covered, traced, recorded
    )
    execution.tables = [*covered, *traced, *recorded, finish]


def _identity(job: Job) -> Job:
    return job
