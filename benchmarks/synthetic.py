"""Made-up watersheds straight from numpy, for measurements that need no store."""

from __future__ import annotations

import numpy as np
import pandas as pd

from model.dataset import HeadData, Split

CELL_AREA = 6e7  # m2, about that of 5 arc-minutes at 45 degrees
CELL_SIDE = 8e3  # m
DAY_SECONDS = 86_400.0
STORES = (3.0, 30.0)  # days in which a fast and a slow reservoir empty
TRAVEL = 0.8  # m s-1, of rain on its way to the outlet


def make_head(
    number: int, rows: int, columns: int, years: int, step_hours: int = 24, filled: float = 0.7
) -> HeadData:
    """A watershed whose runoff is that of two linear reservoirs fed by rain that has travelled.

    Args:
        number: of the watershed: its site number and seed.
        rows, columns: of its window, of which the share `filled` lies inside.
        years: water years, the last two of them for validation and test.
    """
    rng = np.random.default_rng(number)
    steps = pd.Timedelta(hours=step_hours)
    times = pd.date_range("2001-10-01", f"{2001 + years}-10-01", freq=steps, inclusive="left")
    a_day = 24 / step_hours
    y, x = np.mgrid[:rows, :columns]
    away = np.hypot(y, x)  # from the outlet, in a corner
    inside = away <= np.quantile(away, filled)
    cells = int(inside.sum())
    distance = (CELL_SIDE * (away[inside] + 0.5)).astype(np.float32)
    storm = rng.gamma(0.25 / a_day, 20, len(times)).astype(np.float32)
    rain = storm[:, None] * rng.gamma(4, 0.25, (len(times), cells)).astype(np.float32)
    season = np.sin(2 * np.pi * np.arange(len(times)) / (365.25 * a_day), dtype=np.float64)
    lags = np.rint(distance / TRAVEL / (DAY_SECONDS / a_day)).astype(int)
    arrived = np.zeros(len(times))
    for lag in np.unique(lags):
        arrived[lag:] += rain[: len(rain) - lag, lags == lag].sum(1) / cells
    arrived *= 0.5 - 0.3 * season  # the rest evaporates
    runoff = np.zeros(len(times))
    for days in STORES:
        stored, left = 0.0, 1 / (days * a_day)
        for t, fed in enumerate((arrived / len(STORES)).tolist()):
            stored += fed
            runoff[t] += left * stored
            stored -= left * stored
    runoff = runoff.astype(np.float32)
    dates = times + steps / 2
    split = Split.by_water_year(dates)
    depth, observed = rain[split.train].mean(1), runoff[split.train]
    area = CELL_AREA * cells
    warm = np.broadcast_to(season[:, None].astype(np.float32), rain.shape)
    return HeadData(
        site_no=f"{number:08d}",
        name=f"Made-up Creek {number}",
        synthetic=True,
        area=area,
        step_seconds=steps.total_seconds(),
        interval_end=steps.total_seconds(),
        times=times,
        dates=dates,
        inside=inside,
        channels=("precipitation", "temperature"),
        forcing=np.stack([rain, warm], 1),
        demand=np.full(rain.shape, 2 * steps / pd.Timedelta(days=1), np.float32),
        attributes=np.zeros(5, np.float32),
        coverage=np.ones(cells, np.float32),
        share=np.full(cells, 1 / cells, np.float32),
        distance=distance,
        discharge=runoff * area / 1e3 / steps.total_seconds(),
        runoff=runoff,
        split=split,
        snow=False,
        rain_scale=float(depth.std()),
        runoff_scale=float(observed.std()),
        runoff_mean=float(observed.mean()),
        standard={"temperature": (0.0, 1.0)},
    )
