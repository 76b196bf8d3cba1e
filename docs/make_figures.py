"""Draw the pictures of README and docs from Daddys Creek, a real basin.

    DOMST_DATA=... python docs/make_figures.py

Writes the store of catalogs/daddys_creek.yaml and trains its head under build/figures, unless they
are there already, and writes the PNGs into docs/images.
"""

from __future__ import annotations

import os
import subprocess
import sys
from io import BytesIO
from pathlib import Path
from typing import Any

import geopandas as gpd
import matplotlib
import matplotlib.dates as mdates
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pyflwdir
import rasterio
import shapely
import xarray as xr
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from PIL import Image

from model import Run, Settings, load_head
from model.inputs.soil import evaporation_demand, soil_stores
from pipeline import load_catalog, open_region, open_watershed
from pipeline.watersheds.flow_directions import open_terrain
from pipeline.watersheds.outlet import find_outlet
from pipeline.watersheds.polygons import read_watersheds

ROOT = Path(__file__).resolve().parent.parent
CATALOG = ROOT / "catalogs/daddys_creek.yaml"
WORK, IMAGES = ROOT / "build/figures", ROOT / "docs/images"
SITE, YEAR, STORM = "03539600", 2021, "2021-03-27T12"  # PRISM's day ends at 12:00 UTC
DATA = Path(os.environ.get("DOMST_DATA", ".")) / "daddys_creek"
OBSERVED, SIMULATED, RAIN = "#1a1a1a", "#d55e00", "#3a86b7"  # after Okabe and Ito
STREAM, FRAME, FLOOD = "#1f4e8c", "#5f5f5f", "#fbf3b4"
RAINS, SHARES, HOURS = "YlGnBu", "Greys", "cividis_r"  # readable with any colour vision
STREAM_KM2 = 4.0  # least upstream area of a stream that is drawn
HALO = [patheffects.withStroke(linewidth=2.6, foreground="white")]
STORES = ("#56b4e9", "#0072b2", "#e69f00", "#9c5a00")  # of soil, from the smallest
WIDTH, NARROW = 11.2, 8.4  # inches


def draw_map(axes: Axes, cells: xr.DataArray, basin: xr.Dataset, scale: ScalarMappable) -> None:
    """Cells in colour, the outline of the watershed, and degrees along the axes."""
    mesh = axes.pcolormesh(cells.x, cells.y, cells, edgecolors="white", linewidth=0.8)
    mesh.set(norm=scale.norm, cmap=scale.cmap)
    outline = gpd.GeoSeries([shapely.from_wkt(basin.polygon.item())]).boundary
    outline.plot(ax=axes, color=SIMULATED if scale.cmap.name == SHARES else OBSERVED, linewidth=1.6)
    axes.set_aspect(1 / np.cos(np.radians(35.9)))
    axes.set(xlim=(-85.1667, -84.75), ylim=(35.6667, 36.0833), xlabel=None, ylabel=None)
    axes.set_xticks([-85.1, -84.9], ["85.1° W", "84.9° W"])
    axes.set_yticks([35.7, 35.8, 35.9, 36.0], ["35.7° N", "35.8° N", "35.9° N", "36.0° N"])
    soften(axes)


def write_in_cells(axes: Axes, values: xr.DataArray, text: str) -> None:
    """Write each cell's value at its centre."""
    cells = values.stack(at=("y", "x"))
    for cell in cells[cells.notnull().values]:
        label = axes.text(float(cell.x), float(cell.y), text.format(float(cell)), fontsize=9)
        label.set(ha="center", va="center", path_effects=HALO, zorder=6)


def draw_streams(axes: Axes, basin: xr.Dataset) -> None:
    """Streams traced on the DEM, the wider the larger, and the gauge."""
    with rasterio.open(DATA / "dem.tif") as dem:
        elevation = dem.read(1).astype(np.float32)
        elevation[elevation == dem.nodata] = -9999
        network = pyflwdir.from_dem(elevation, nodata=-9999, transform=dem.transform)
        area = network.upstream_area(unit="km2")
        lines = network.streams(mask=area > STREAM_KM2, size=np.sqrt(np.maximum(area, 0)))
        streams = gpd.GeoDataFrame.from_features(lines, crs=dem.crs).to_crs("EPSG:4326")
    streams = streams.clip(shapely.from_wkt(basin.polygon.item()))
    streams.plot(ax=axes, color=STREAM, linewidth=0.35 + streams["size"] / 9, zorder=3)
    lon, lat = basin.attrs["outlet"]
    axes.plot(lon, lat, "v", color=SIMULATED, markersize=11, markeredgecolor="white", zorder=7)
    label = axes.text(lon, lat + 0.012, "gauge", fontsize=10, color=SIMULATED, fontweight="bold")
    label.set(ha="center", path_effects=HALO, zorder=8)


def draw_hydrograph(axes: Axes, flows: xr.Dataset, rain: xr.DataArray) -> None:
    """Observed and simulated discharge with the rain from above, the largest flood enlarged."""
    days = (flows.time + np.timedelta64(12, "h")).values  # middle of each step
    flood = mdates.date2num(np.datetime64(STORM)) - 10, mdates.date2num(np.datetime64(STORM)) + 10
    close = axes.inset_axes((0.595, 0.30, 0.37, 0.40))
    for one, width in ((axes, 1.1), (close, 1.6)):
        one.plot(days, flows.observed, color=OBSERVED, linewidth=1.5 * width, label="observed")
        one.plot(days, flows.simulated, color=SIMULATED, linewidth=width, label="Dom-ST, from rain")
        one.axvspan(*flood, color=FLOOD, linewidth=0, zorder=0)
    above = axes.twinx()
    above.bar(days, rain, width=1.0, color=RAIN)
    above.set(ylim=(380, 0), yticks=[0, 50, 100])
    above.set_ylabel("rain (mm per day)", loc="top", color=RAIN)
    axes.set(ylim=(0, 270), ylabel="discharge (m³ s⁻¹)", xlim=(days[0], days[-1]))
    axes.set(yticks=[0, 50, 100, 150, 200])
    axes.xaxis.set_major_locator(mdates.MonthLocator(bymonth=(10, 12, 2, 4, 6, 8)))
    axes.xaxis.set_major_formatter(mdates.DateFormatter("%b %Y"))
    close.set(xlim=flood, ylim=(0, 190))
    close.xaxis.set_major_locator(mdates.DayLocator(interval=5))
    close.xaxis.set_major_formatter(mdates.DateFormatter("%-d %b"))
    axes.legend(loc="center left", bbox_to_anchor=(0.13, 0.62), frameon=False, fontsize=10.5)
    for one in (axes, above, close):
        soften(one, "top")
    above.tick_params(colors=RAIN)


def basin_figure(basin: xr.Dataset, run: Run) -> Figure:
    """Map of the storm of the largest flood, and the hydrograph of the test year."""
    year = slice(f"{YEAR - 1}-10-01", f"{YEAR}-09-30")
    flows = run.open_predictions().sel(site_no=SITE, time=year).load()
    score = run.scores.loc[SITE]
    rain = basin.precipitation.sel(time=STORM, method="nearest").where(basin.coverage > 0)
    mean = basin.precipitation.weighted(basin.coverage * basin.cell_area).mean(("y", "x"))
    figure, (left, right) = panels(4.7, (1, 1.75))
    scale = ScalarMappable(Normalize(40, 110), RAINS)
    draw_map(left, rain, basin, scale)
    draw_streams(left, basin)
    write_in_cells(left, basin.flow_distance.where(rain.notnull()) / 1000, "{:.0f}")
    ten_km = 10 / (111.32 * np.cos(np.radians(35.75)))  # in degrees of longitude
    left.plot([-84.895, -84.895 + ten_km], [35.753, 35.753], color=OBSERVED, linewidth=2.5)
    left.text(-84.895 + ten_km / 2, 35.761, "10 km", ha="center", fontsize=9.5)
    left.set(ylim=(35.726, 36.0833), xlabel=None, ylabel=None)
    left.set_title(
        "Rain of 27-28 March 2021 on the 5-arc-minute grid;\nflow distance to the gauge, km"
    )
    figure.colorbar(scale, ax=left, label="rain (mm in 24 h)", shrink=0.8, pad=0.02)
    draw_hydrograph(right, flows, mean.sel(time=flows.time))
    right.set_title(
        "Daddys Creek, Tennessee (359 km²): test year, not used in training\n"
        f"NSE {score['nse']:.2f}   KGE {score['kge']:.2f}"
    )
    return figure


def regridding_figure(basin: xr.Dataset, region: xr.Dataset) -> Figure:
    """One day of PRISM: raw pixels, the value and valid fraction of the cells, their coverage."""
    file = f"prism/prism_{pd.Timestamp(STORM) + pd.Timedelta(days=1):%Y%m%d}.tif"
    raw = xr.open_dataarray(DATA / file, engine="rasterio").sel(band=2)
    storm = region.sel(time=STORM, method="nearest")
    rain, share = ScalarMappable(Normalize(40, 110), RAINS), ScalarMappable(Normalize(0, 1), SHARES)
    figure, axes = panels(3.3, (1, 1, 1, 1), sharey=True)
    for one, cells, title, scale, text in (
        (axes[0], raw.where(raw >= 0), "PRISM pixels, 1/24°", rain, ""),
        (axes[1], storm.precipitation, "regridded, 1/12°", rain, "{:.0f}"),
        (axes[2], storm.valid_fraction, "valid fraction", share, "{:.2f}"),
        (axes[3], basin.coverage, "coverage", share, "{:.2f}"),
    ):
        draw_map(one, cells, basin, scale)
        write_in_cells(one, cells.where(cells >= 0.005), text)
        one.set_title(title)
    figure.colorbar(rain, ax=list(axes[:2]), label="rain (mm in 24 h)", pad=0.02)
    figure.colorbar(share, ax=list(axes[2:]), label="share of the cell's area", pad=0.02)
    return figure


def contribution_figure(basin: xr.Dataset, run: Run) -> Figure:
    """What the head learned of the river: travel time to the gauge, by cell and as a density."""
    block = load_head(run, SITE).networks[0].contribution
    assert block is not None
    velocity, dispersion = (
        float(log.detach().exp()[0]) for log in (block.log_velocity, block.log_dispersion)
    )
    hours = basin.flow_distance.where(basin.coverage > 0) / velocity / 3600
    figure, (left, right) = panels(3.9, (1, 1.5))
    scale = ScalarMappable(Normalize(0, 48), HOURS)
    draw_map(left, hours, basin, scale)
    write_in_cells(left, hours, "{:.0f}")
    left.set_title("mean travel time to the gauge")
    figure.colorbar(scale, ax=left, label="hours", pad=0.02)
    time = np.arange(0.25, 72, 0.25)  # hours
    for km, colour in ((13, "#009e73"), (30, "#0072b2"), (54, "#d55e00")):
        distance, seconds = km * 1000, time * 3600
        spread = np.exp(-((distance - velocity * seconds) ** 2) / (4 * dispersion * seconds))
        density = distance / np.sqrt(4 * np.pi * dispersion * seconds**3) * spread  # per second
        right.plot(time, density * 3600, color=colour, linewidth=2, label=f"{km} km")
    right.set(xlim=(0, 72), ylim=(0, None), xlabel="hours after the rain")
    right.set(xticks=range(0, 73, 12), ylabel="share arriving per hour")
    right.legend(title="flow distance", frameon=False, fontsize=10)
    right.set_title(f"learned: velocity {velocity:.2f} m s⁻¹, dispersion {dispersion:,.0f} m² s⁻¹")
    soften(right, "top", "right")
    return figure


def coverage_figure(basin: xr.Dataset) -> Figure:
    """Cells cut at the boundary of the watershed, and one of them close by."""
    figure, (left, right) = panels(4.1, (1.2, 1))
    figure.set_figwidth(NARROW)
    scale = ScalarMappable(Normalize(0, 1), SHARES)
    inside = basin.coverage.where(basin.coverage > 0)
    draw_map(left, inside, basin, scale)
    write_in_cells(left, inside, "{:.2f}")
    left.set_title("coverage")
    figure.colorbar(scale, ax=left, label="share of the cell's area", pad=0.02)
    polygon, half = shapely.from_wkt(basin.polygon.item()), 1 / 24
    cells = basin.coverage.stack(at=("y", "x"))
    cell = cells[int(np.argmin(abs(cells.values - 0.5)))]  # cut through its middle
    x, y = float(cell.x), float(cell.y)
    whole = shapely.box(x - half, y - half, x + half, y + half)
    parts = (
        (whole, {"facecolor": "white", "edgecolor": FRAME}),
        (whole & polygon, {"facecolor": "#c6dbef", "edgecolor": "none"}),
        (polygon.boundary & whole, {"color": SIMULATED, "linewidth": 2}),
    )
    for part, how in parts:
        gpd.GeoSeries([part]).plot(ax=right, **how)
    cuts = shapely.get_coordinates(polygon.boundary & whole.boundary)
    right.plot(*cuts.T, "o", color=OBSERVED, markersize=6)
    inner, text = (whole & polygon).representative_point(), f"{float(cell):.4f}\nof the cell"
    right.text(inner.x, inner.y, text, ha="center", va="center", fontsize=13)
    right.set_aspect(1 / np.cos(np.radians(y)))
    right.set(xticks=[], yticks=[], xlabel=None, ylabel=None)
    right.set_title("the boundary is cut at the cell's edges (dots)")
    soften(right, "top", "right", "bottom", "left")
    return figure


def flow_distance_figure(basin: xr.Dataset) -> Figure:
    """Flow distance of the pixels of the DEM, and its mean in each cell."""
    catalog = load_catalog(CATALOG)
    assert catalog.terrain is not None
    (watershed,) = read_watersheds(catalog)
    outlet = find_outlet(open_terrain(catalog), watershed, catalog.terrain.outlet_snap)
    field, pixel = outlet.field, outlet.pixel
    used = outlet.inside & field.upstream(pixel)
    distance = np.where(used, field.length - field.length[pixel], np.nan) / 1000
    figure, (left, right) = panels(4.3, (1, 1), sharey=True)
    figure.set_figwidth(NARROW)
    scale = ScalarMappable(Normalize(0, 60), HOURS)
    cells = basin.flow_distance.where(basin.coverage > 0) / 1000
    draw_map(left, cells.where(False), basin, scale)
    mesh = left.pcolormesh(field.lon, field.lat, distance)
    mesh.set(norm=scale.norm, cmap=scale.cmap)
    draw_streams(left, basin)
    left.set(xlabel=None, ylabel=None)
    left.set_title("from each pixel of the DEM")
    draw_map(right, cells, basin, scale)
    write_in_cells(right, cells, "{:.0f}")
    right.set_title("mean over the cell's part inside")
    figure.colorbar(scale, ax=[left, right], label="flow distance to the gauge (km)", pad=0.02)
    return figure


def soil_figure(basin: xr.Dataset) -> Figure:
    """Rain, the filling of the soil stores, and discharge of two water years."""
    settings, inside = Settings(), (basin.coverage > 0).values
    share = (basin.coverage * basin.cell_area).values[inside]
    fields = {name: basin[name].values[:, inside] for name in ("precipitation", "temperature")}
    fields = {name: np.nan_to_num(field) for name, field in fields.items()}
    rows, _ = np.nonzero(inside)
    demand = evaporation_demand(
        fields, basin.y.values[rows], basin.time.dt.dayofyear.values, 1.0, 0.5,
        np.ones(basin.sizes["time"], bool), settings,
    )  # fmt: skip
    filling = soil_stores(fields["precipitation"], demand, 1.0, 365, settings)[1]
    shown = basin.time.values >= np.datetime64("2019-10-01")
    shown &= basin.time.values < np.datetime64("2021-10-01")
    time, mean = basin.time.values[shown], share / share.sum()
    figure, (above, middle, below) = plt.subplots(
        3, 1, figsize=(WIDTH, 5.0), sharex=True, height_ratios=(1, 2, 1.5), layout="constrained"
    )
    above.bar(time, (fields["precipitation"] @ mean)[shown], width=1.0, color=RAIN)
    above.set(ylabel="rain (mm)", ylim=(110, 0))
    for number, colour in enumerate(STORES):
        label = f"{settings.soil_capacities[number]:,.0f} mm"
        middle.plot(time, (filling[:, number] @ mean)[shown], color=colour, label=label)
    middle.set(ylabel="filling of the store", ylim=(0, 1))
    middle.legend(frameon=False, ncols=4, loc="lower right", bbox_to_anchor=(1, 0.97), fontsize=9)
    below.plot(time, basin.discharge.values[shown], color=OBSERVED, linewidth=1.2)
    below.set(ylabel="discharge (m³ s⁻¹)", ylim=(0, None), xlim=(time[0], time[-1]))
    below.xaxis.set_major_formatter(mdates.DateFormatter("%b %Y"))
    for one in (above, middle, below):
        soften(one, "top", "right")
    above.set_title("Daddys Creek: rain runs off when the stores are full")
    return figure


def panels(height: float, widths: tuple[float, ...], **how: Any) -> tuple[Figure, list[Axes]]:
    """A figure with panels side by side."""
    shape: dict[str, Any] = {
        "figsize": (WIDTH, height),
        "width_ratios": widths,
        "layout": "constrained",
    }
    return plt.subplots(1, len(widths), **shape, **how)


def soften(axes: Axes, *hidden: str) -> None:
    """Grey frame without the `hidden` sides, small ticks."""
    axes.tick_params(labelsize=9, color=FRAME)
    for name, spine in axes.spines.items():
        spine.set(color=FRAME, visible=name not in hidden)


def save(figure: Figure, name: str) -> None:
    """Write a PNG of 160 colours, a third of the size of one of all."""
    buffer, path = BytesIO(), IMAGES / name
    figure.savefig(buffer, dpi=150)
    Image.open(buffer).convert("RGB").quantize(160).save(path, optimize=True)
    print(f"{path.relative_to(ROOT)}: {path.stat().st_size / 1000:.0f} kB")


def main() -> None:
    """Write the store, train the head, draw the pictures."""
    store, run = WORK / "daddys.zarr", WORK / "daddys"
    for command in (
        ["pipeline", "run", str(CATALOG), "--store", str(store)],
        ["model.train", str(store), "--run", str(run), "--test", str(YEAR)],
    ):
        subprocess.run([sys.executable, "-m", *command], cwd=ROOT, check=True)
    matplotlib.use("Agg")
    plt.rcParams["axes.titlesize"] = 11
    IMAGES.mkdir(exist_ok=True)
    basin, trained = open_watershed(store, SITE).load(), Run(run)
    save(basin_figure(basin, trained), "daddys_creek.png")
    save(regridding_figure(basin, open_region(store)), "regridding.png")
    save(contribution_figure(basin, trained), "contribution.png")
    save(coverage_figure(basin), "coverage.png")
    save(flow_distance_figure(basin), "flow_distance.png")
    save(soil_figure(basin), "soil.png")


if __name__ == "__main__":
    main()
