"""A raw raster series in a catalog: what of its files they do not say themselves."""

from __future__ import annotations

import re
from datetime import timedelta
from functools import partial
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from pipeline.catalog.time import Duration, Strict, TimeLabel
from pipeline.units import FORCING_UNITS, require_unit

TIME_FIELD = re.compile(r"\{time:([^}]*)\}")


class AxisNames(Strict):
    """Names in a file of several dimensions, where it does not say which is which itself.

    `time`, `y` and `x` are dimensions, `latitude` and `longitude` coordinates of both y and x.
    """

    time: str | None = None
    y: str | None = None
    x: str | None = None
    latitude: str | None = None
    longitude: str | None = None


DRIVER_KEYS = {  # keys of a raster source that mean something to some drivers alone
    "band": {"geotiff", "gdal"},
    "inside": {"gdal"},
    "variable": {"netcdf", "zarr"},
    "group": {"netcdf", "zarr"},
    "axes": {"netcdf", "zarr"},
    "place_by": {"netcdf", "zarr"},
    "select": {"grib"},
    "times": {"netcdf", "zarr", "grib"},
    "bounds": {"netcdf", "zarr", "grib"},
}


class RasterSource(Strict):
    """A raw raster series: where its files are, and what of a raster they do not say themselves."""

    driver: Literal["geotiff", "gdal", "netcdf", "zarr", "grib"]
    files: str = Field(
        min_length=1, description="path; {time:%Y%m%d} stands for the label, * for anything"
    )
    inside: str | None = Field(default=None, description="gdal: name in a zip, * for anything")
    band: int = Field(default=1, ge=1, description="geotiff, gdal")
    variable: str | None = Field(default=None, description="netcdf, zarr")
    group: str | None = Field(default=None, description="netcdf, zarr")
    axes: AxisNames = AxisNames()
    select: dict[str, str | int | float] = Field(default={}, description="grib: keys of a message")
    crs: str | None = Field(default=None, description="where the file has none or a wrong one")
    place_by: Literal["axes", "latlon"] | None = Field(
        default=None, description="which counts where a file says twice where its pixels lie"
    )
    units: Annotated[str, AfterValidator(partial(require_unit, known=FORCING_UNITS))] = Field(
        description="of the file's numbers, in any spelling"
    )
    missing: list[float] = Field(default=[], description="missing codes besides the file's nodata")
    step: Duration | None = Field(default=None, gt=timedelta(0), description="the store's if none")
    time: TimeLabel = TimeLabel()
    times: Literal["name", "file"] | None = Field(
        default=None, description="where labels stand; in the name if that has a whole date"
    )
    bounds: Literal["ignore"] | None = Field(
        default=None, description="where a file is wrong about when its rasters begin"
    )
    totals: Duration | None = Field(
        default=None, description="numbers are totals that begin anew this often from 00:00 UTC"
    )
    over_time: Literal["sum", "mean"] | None = Field(default=None, description="in a step")
    min_valid: float = Field(default=0.5, gt=0, le=1, description="least valid share of a cell")
    max_missing_steps: int = Field(default=0, ge=0, description="rasters that may be missing")
    max_invalid: float = Field(default=1.0, ge=0, le=1, description="share of a block's pixels")
    max_negative: float = Field(default=0.01, ge=0, le=1, description="share of a block's pixels")

    @model_validator(mode="after")
    def _of_the_driver(self) -> Self:
        for key, drivers in DRIVER_KEYS.items():
            if self.driver not in drivers and self.sets(key):
                known = ", ".join(sorted(drivers))
                raise ValueError(f"{key} is a key of {known}, driver is {self.driver}")
        fields = len(TIME_FIELD.findall(self.files))
        if fields > 1:
            raise ValueError(f"files {self.files!r} has {fields} {{time:...}} fields, not one")
        if self.driver in ("geotiff", "gdal") and not fields:
            raise ValueError(f"files {self.files!r} needs one {{time:%Y%m%d}} field")
        if self.driver in DRIVER_KEYS["variable"] and not self.variable:
            raise ValueError(f"driver {self.driver} needs a variable")
        return self

    @model_validator(mode="after")
    def _one_meaning(self) -> Self:
        kind = FORCING_UNITS[self.units].kind
        if (kind, self.over_time) in (("state", "sum"), ("rate", "mean")):
            raise ValueError(f"over_time: {self.over_time} makes no sense of units {self.units!r}")
        if self.totals and not (kind == "amount" and self.sums):
            raise ValueError(
                f"totals of units {self.units!r}: expected an amount, summed over time"
            )
        return self

    def sets(self, key: str) -> bool:
        """Whether a key has another value than when it is left out."""
        return bool(getattr(self, key) != type(self).model_fields[key].get_default())

    @property
    def sums(self) -> bool:
        """Whether a step of the store gets the sum over its time, and not the mean."""
        return (self.over_time or "sum") == "sum" and FORCING_UNITS[self.units].kind != "state"

    @property
    def store_units(self) -> str:
        """Unit in the store."""
        return FORCING_UNITS[self.units].store

    def conversion(self, units: str, interval: timedelta, step: timedelta) -> tuple[float, float]:
        """Scale and offset from a mean of the file's numbers over a step to the store's number.

        Args:
            units: of the numbers.
            interval: of time that one raster stands for.
            step: of the store.
        """
        unit = FORCING_UNITS[units]
        if unit.kind == "rate":
            return unit.factor * step.total_seconds(), unit.offset
        return unit.factor * (step / interval if self.sums else 1.0), unit.offset
