"""The catalog's own limits for `check`."""

from __future__ import annotations

import math
from typing import Annotated, Self

from pydantic import Field, StringConstraints, model_validator

from pipeline.catalog.time import Strict


class Checks(Strict):
    """What `check` is to accept in this region beyond its own limits, and why."""

    runoff_ratio: tuple[float, float] | None = Field(
        default=None, description="lowest and highest runoff over rain of a record"
    )
    negative_discharge: bool = Field(
        default=False, description="negative values are discharge, even if they repeat"
    )
    reason: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)] = Field(
        description="why, for whoever reads the store"
    )

    @model_validator(mode="after")
    def _check_limits(self) -> Self:
        if self.runoff_ratio is None and not self.negative_discharge:
            raise ValueError("expected runoff_ratio or negative_discharge")
        if self.runoff_ratio is not None:
            low, high = self.runoff_ratio
            if not 0 <= low < high < math.inf:
                raise ValueError(
                    f"runoff_ratio {self.runoff_ratio}: expected 0 <= lowest < highest"
                )
        return self
