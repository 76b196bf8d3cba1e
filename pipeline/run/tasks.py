"""The tasks of a run by stage; each runs on a worker, and may run twice or be killed.

    cover   place a group of watersheds on the grid, and write their outlines
    trace   trace the flow distances of a group
    gauge   read the records of a group of gauges, and write them
    finish  write the tables of all watersheds, from what the stages above returned
    regrid  read, regrid and write a block of steps

A task writes whole files that belong to it alone.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from rasterio.errors import NotGeoreferencedWarning

from pipeline.catalog.models import PRECIPITATION, Catalog
from pipeline.errors import InputError
from pipeline.gauges.read import read_gauges
from pipeline.gauges.to_steps import MAX_GAP, MIN_VALID, on_steps, shift_seconds
from pipeline.live.rain import RainPicture
from pipeline.log import get_logger
from pipeline.rasters.accumulation import Totals
from pipeline.run.aggregate import PixelCounts, StepMeans
from pipeline.run.on_worker import Messages
from pipeline.run.plan import Plan, RasterBlock, Source
from pipeline.run.unreadable import Unreadable, read_around
from pipeline.store.digests import digest_content
from pipeline.store.metadata import METADATA
from pipeline.store.tables import (
    SiteRow,
    TableSpec,
    make_row,
    polygon_files,
    record_files,
    table_files,
)
from pipeline.store.write import BlockWriter, StoreWriter
from pipeline.watersheds.coverage import Site, place
from pipeline.watersheds.polygons import Watershed

if TYPE_CHECKING:  # imported beside the first blocks
    from pipeline.watersheds.flow_distance import FlowPath

# rasterio suppresses this warning of its own for the time of a call, which threads undo.
warnings.filterwarnings("ignore", category=NotGeoreferencedWarning)

LOG = get_logger(__name__)
OUTSIDE_WARN, OUTSIDE_FAIL = 0.1, 0.5  # shares of a watershed outside the rasters


@dataclass(frozen=True)
class Job:
    """Everything that all blocks need.

    Attributes:
        sources: the raster series and their weights.
        min_valid: for each forcing, the smallest valid share of a cell that gets a value.
        writer: of the store.
        keep_going: whether unreadable rasters are set aside.
        draw_rain: whether a picture of each block's rain is wanted.
    """

    sources: tuple[Source, ...]
    min_valid: Mapping[str, float]
    writer: BlockWriter
    keep_going: bool
    draw_rain: bool = False


@dataclass
class BlockReport:
    """Statistics of a finished block.

    Attributes:
        name: start of its first step.
        rasters: number of rasters read.
        invalid_pixels: for each forcing, the share of raw pixels over the region without a value.
        invalid_cells: for each forcing, the share of cells left without a value.
        negative_pixels: for each forcing, the number of precipitation's raw pixels below zero.
        unreadable: rasters that were set aside.
        rain: picture of the rain, if it is wanted.
    """

    name: str
    rasters: int
    invalid_pixels: dict[str, float] = field(default_factory=dict)
    invalid_cells: dict[str, float] = field(default_factory=dict)
    negative_pixels: dict[str, int] = field(default_factory=dict)
    unreadable: list[Unreadable] = field(default_factory=list)
    rain: RainPicture | None = None


@dataclass(frozen=True, eq=False)
class Covered:
    """A group of watersheds on the grid; and the digests of the files written, by path."""

    sites: list[Site]
    digests: dict[str, str]


@dataclass(frozen=True, eq=False)
class Recorded:
    """Shifts of the records [s] by site number; and the digests of the files written, by path."""

    shifts: dict[str, float]
    digests: dict[str, str]


@dataclass(frozen=True, eq=False)
class Finished:
    """The tables' metadata, content by path; and the digests of all their files, by path."""

    metadata: dict[str, bytes]
    digests: dict[str, str]


def cover_group(
    job: Job, writer: StoreWriter, spec: TableSpec, first: int, watersheds: Sequence[Watershed],
    where: str,
) -> Covered:  # fmt: skip
    """Place a group of watersheds on the grid, and write their outlines.

    Args:
        job: with the weights, which say where there are rasters.
        writer: of the store.
        spec: of the tables.
        first: position of the group's first watershed.
        watersheds: of the group.
        where: file of the watersheds, for messages.

    Raises:
        InputError: a watershed is more than half outside the rasters.
        RunError: the disk is full or read-only.
    """
    sites = [place(watershed, spec.grid) for watershed in watersheds]
    require_rasters(sites, job.sources, where)
    files = polygon_files(spec, first, [one.polygon.wkt for one in watersheds])
    writer.write(files)
    return Covered(sites, _digests(files))


def require_rasters(sites: Sequence[Site], sources: Sequence[Source], where: str) -> None:
    """Warn of, or refuse, watersheds that reach outside the rasters.

    Raises:
        InputError: more than half of one does.
    """
    areas = [site.coverage * site.grid.cell_area for site in sites]
    for source in sources:
        covered, span = source.weights.coverage, source.series.layout.placement.span
        for site, area in zip(sites, areas, strict=True):
            outside = 1 - float((area * covered[site.window]).sum() / area.sum())
            message = (
                f"{where}: {outside:.0%} of the watershed of {site.watershed.site_no} lies outside "
                f"the rasters of {source.series.names[0]}, which span {span}"
            )
            if outside > OUTSIDE_FAIL:
                raise InputError(f"{message}: expected at most {OUTSIDE_FAIL:.0%}")
            if outside > OUTSIDE_WARN:
                LOG.warning("%s", message)


def require_watersheds(plan: Plan) -> None:
    """Require that the watersheds of a plan lie in its rasters, as far as a run would.

    Raises:
        InputError: a watershed is more than half outside the rasters.
    """
    where = str(plan.catalog.watersheds_path)
    sites = [place(watershed, plan.grid) for watershed in plan.watersheds]
    require_rasters(sites, plan.sources, where)


def require_inputs(plan: Plan) -> None:
    """Require of the records, polygons and terrain of a plan what a run requires of them.

    Of the terrain's pixels only the smallest watershed's window is read: tracing all takes long.

    Raises:
        InputError: as the functions that it calls.
    """
    require_watersheds(plan)
    catalog, period = plan.catalog, plan.catalog.period
    gauges = catalog.gauges
    areas = {one.site_no: one.gauged_area for one in plan.watersheds}
    for record in read_gauges(catalog, [*areas], areas).values():
        on_steps(record, period, gauges.min_valid or MIN_VALID, gauges.max_gap or MAX_GAP)
    if catalog.terrain is not None:
        from pipeline.watersheds.flow_distance import flow_paths, require_reached

        require_reached(catalog, plan.watersheds)
        smallest = place(min(plan.watersheds, key=lambda one: one.area), plan.grid)
        flow_paths(catalog, smallest.watershed, smallest.grid, smallest.coverage)


def trace_group(catalog: Catalog, covered: tuple[Covered, Messages]) -> list[FlowPath]:
    """Trace the flow distances of a group of watersheds.

    Raises:
        InputError: as `flow_paths`.
    """
    from pipeline.watersheds.flow_distance import flow_paths

    sites = covered[0].sites
    return [flow_paths(catalog, site.watershed, site.grid, site.coverage) for site in sites]


def gauge_groups(
    catalog: Catalog,
    writer: StoreWriter,
    spec: TableSpec,
    groups: Mapping[int, Mapping[str, float]],
) -> Recorded:
    """Read the records of some groups of gauges, and write them.

    Args:
        catalog: describes the records.
        writer: of the store.
        spec: of the tables.
        groups: by position of the first, the site numbers of each group, with drainage areas [m2].

    Raises:
        InputError: as `read_gauges` and `on_steps`.
        RunError: the disk is full or read-only.
    """
    gauges, period = catalog.gauges, catalog.period
    areas = {site: area for sites in groups.values() for site, area in sites.items()}
    records = read_gauges(catalog, [*areas], areas)
    shifts: dict[str, float] = {}
    digests: dict[str, str] = {}
    for first, sites in groups.items():
        series = [
            on_steps(
                records[site], period, gauges.min_valid or MIN_VALID, gauges.max_gap or MAX_GAP
            )
            for site in sites
        ]
        discharge, flag = (np.stack(part) for part in zip(*series, strict=True))
        files = record_files(spec, first, discharge, flag)
        writer.write(files)
        digests |= _digests(files)
        shifts |= {site: shift_seconds(records[site], period) for site in sites}
    return Recorded(shifts, digests)


def finish_tables(
    writer: StoreWriter,
    spec: TableSpec,
    covered: Sequence[tuple[Covered, Messages]],
    traced: Sequence[tuple[Sequence[FlowPath], Messages]],
    recorded: Sequence[tuple[Recorded, Messages]],
) -> Finished:
    """Write the tables of all watersheds, from what the other stages returned.

    Raises:
        RunError: the disk is full or read-only.
    """
    shifts = {site: shift for one, _ in recorded for site, shift in one.shifts.items()}
    rows: list[SiteRow] = [
        make_row(site, flow, shifts[site.watershed.site_no])
        for (group, _), (flows, _) in zip(covered, traced, strict=True)
        for site, flow in zip(group.sites, flows, strict=True)
    ]
    files = table_files(spec, rows)
    writer.write(files)
    digests = _digests(files)
    for written in (*(one.digests for one, _ in covered), *(one.digests for one, _ in recorded)):
        digests |= written
    metadata = {key: content for key, content in files.items() if key.endswith(f"/{METADATA}")}
    return Finished(metadata, digests)


def _digests(files: Mapping[str, bytes]) -> dict[str, str]:
    return {key: digest_content(content) for key, content in files.items()}


def regrid_block(job: Job, block: RasterBlock, names: Sequence[str]) -> BlockReport:
    """Read, regrid and write some forcings of a block.

    Raises:
        InputError: a raster differs from its series.
        RunError: the disk is full or read-only.
    """
    report = BlockReport(block.name, block.rasters)
    for source in job.sources:
        wanted = [name for name in source.series.names if name in names]
        if wanted:
            _process_series(job, block, source, wanted, report)
    return report


def _process_series(
    job: Job, block: RasterBlock, source: Source, names: Sequence[str], report: BlockReport
) -> None:
    """Read, regrid and write the forcings of one series in a block."""
    regridded, unreadable = _read_and_regrid(source, block, names, job.keep_going)
    report.unreadable.extend(unreadable)
    for name in names:
        means, counts = regridded[name]
        counts.require(source, name, block)
        scale, offset = source.series.conversion(name)
        value, valid = means.result(scale, offset, job.min_valid[name])
        report.invalid_pixels[name] = counts.invalid_share
        report.invalid_cells[name] = float(np.isnan(value).mean())
        report.negative_pixels[name] = counts.negative
        job.writer.write_block(block, name, value, valid)
        if job.draw_rain and name == PRECIPITATION:
            report.rain = RainPicture.draw(block.name, value)


def _read_and_regrid(
    source: Source, block: RasterBlock, names: Sequence[str], keep_going: bool
) -> tuple[dict[str, tuple[StepMeans, PixelCounts]], list[Unreadable]]:
    """Read a series in a block and regrid some of its forcings, piece by piece.

    Returns:
        By forcing its step means and pixel counts; and the rasters that were set aside.
    """
    series, weights = source.series, source.weights
    first, stop = block.start * series.per_step, block.stop * series.per_step
    steps, shape = block.stop - block.start, weights.shape
    done = {name: (StepMeans(steps, series.per_step, shape), PixelCounts()) for name in names}
    unreadable: list[Unreadable] = []
    totals = {name: Totals(series.stretches[name]) for name in names if name in series.stretches}
    before = int(first > 0 and any(not found[first] for found in series.stretches.values()))
    for start in range(first, stop, source.piece):
        begin = start - before if start == first else start  # the raster before is for totals alone
        end = min(start + source.piece, stop)
        if keep_going:
            raw = read_around(series, begin, end, weights.window, unreadable)
        else:
            raw = series.read(begin, end, weights.window)
        for name, (means, counts) in done.items():
            pixels = raw[name]
            if name in totals:
                totals[name].take_apart(begin, pixels)
            mine = pixels[start - begin :]
            counts.add(series, name, mine)
            means.add(start - first, *weights.apply(mine))
    return done, unreadable
