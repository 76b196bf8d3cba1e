"""Rain as it is measured: the rasters never hold the rain that fell.

Published rain is radar and gauges, with errors that are correlated in space and multiply the rain.
Here each day has an error field of its own, so a storm is seen too strong in one place and too weak
in another, and each season has a bias that the whole region shares. What did not fall is not seen.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from pipeline.sample.terrain import spectral_noise
from pipeline.sample.world import DAY_START, World

DAILY_SPREAD = 0.25  # of the logarithm of a pixel's rain in a day
SEASON_SPREAD = 0.08  # of the logarithm of the bias of a season
SIDE = 256  # [pixels] of the periodic error field, a piece of which is a day's
EXPONENT = 2.2  # of its spectrum: correlation 0.5 at 40 km, 0.3 at 150 km


@dataclass(frozen=True)
class RainErrors:
    """Errors of the written period: `bias` (days,), `field` (side, side), `corner` (days, 2)."""

    bias: np.ndarray  # logarithm
    field: np.ndarray  # mean 0, variance 1
    corner: np.ndarray  # [pixels] where a day's piece of the field begins

    @classmethod
    def draw(cls, world: World, rng: np.random.Generator) -> RainErrors:
        """Draw a bias for each quarter of a year and a place in the error field for each day."""
        dates = pd.date_range(world.start - DAY_START, periods=world.days, freq="D")
        quarter = dates.year * 4 + dates.quarter
        quarter = (quarter - quarter[0]).to_numpy()
        return cls(
            bias=SEASON_SPREAD * rng.standard_normal(quarter[-1] + 1)[quarter],
            field=spectral_noise((SIDE, SIDE), EXPONENT, rng),
            corner=rng.integers(SIDE, size=(world.days, 2)),
        )

    def measure(self, rain: np.ndarray, day: int) -> np.ndarray:
        """Return the rain of a `day` of the written period as measured, (rows, columns) [mm]."""
        rows, columns = (
            (start + np.arange(n)) % SIDE
            for start, n in zip(self.corner[day], rain.shape, strict=True)
        )
        noise = DAILY_SPREAD * self.field[np.ix_(rows, columns)]
        fair = (DAILY_SPREAD**2 + SEASON_SPREAD**2) / 2  # so that the mean error is none
        return np.asarray(rain * np.exp(self.bias[day] + noise - fair), dtype=np.float32)
