"""The catalog's description of a raw raster series, beyond what its files state."""

from __future__ import annotations

import re
from datetime import timedelta
from functools import partial
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    field_validator,
    model_validator,
)

from pipeline.catalog.products import Keys, ProductName
from pipeline.catalog.time import Duration, Restart, Strict, TimeLabel
from pipeline.units import FORCING_UNITS, require_unit

TIME_FIELD = re.compile(r"\{time:([^}]*)\}")


class AxisNames(Strict):
    """Names of dimensions and coordinates, for files whose attributes do not identify them.

    `time`, `y` and `x` are dimensions, `latitude` and `longitude` coordinates of both y and x.
    """

    time: str | None = Field(default=None, description="dimension of times")
    y: str | None = Field(default=None, description="dimension of rows")
    x: str | None = Field(default=None, description="dimension of columns")
    latitude: str | None = Field(default=None, description="coordinate of latitudes")
    longitude: str | None = Field(default=None, description="coordinate of longitudes")


DRIVER_KEYS = {  # keys that only some drivers use
    "band": {"geotiff", "gdal"},
    "inside": {"gdal"},
    "variable": {"netcdf", "zarr", "radar"},
    "group": {"netcdf", "zarr"},
    "axes": {"netcdf", "zarr"},
    "axes_at": {"netcdf", "zarr"},
    "place_by": {"netcdf", "zarr"},
    "select": {"grib", "netcdf", "zarr"},
    "times": {"netcdf", "zarr", "grib", "radar"},
    "bounds": {"netcdf", "zarr", "grib", "radar"},
}


def _required_keys(schema: dict[str, Any]) -> None:
    """Require a product, or the keys that it would fill in."""
    schema["anyOf"] = [{"required": ["product"]}, {"required": schema.pop("required")}]


class RasterSource(Strict):
    """A raw raster series: its files, and what they do not state about their rasters.

    A catalog's forcing may name a product, see `pipeline.catalog.presets`.
    """

    model_config = ConfigDict(json_schema_extra=_required_keys)

    product: ProductName | None = Field(
        default=None, description="whose files they are; fills in the keys that are not given"
    )
    driver: Literal["geotiff", "gdal", "netcdf", "zarr", "grib", "radar"] = Field(
        description="what opens the files, see docs/rasters.md"
    )
    files: str = Field(
        min_length=1,
        description="path or URL; fields such as {time:%Y%m%d} hold the label, * is any text",
    )
    inside: str | None = Field(default=None, description="gdal: name in a zip file, * any text")
    band: int = Field(default=1, ge=1, description="geotiff, gdal: the band")
    variable: str | None = Field(default=None, description="netcdf, zarr, radar: the variable")
    group: str | None = Field(default=None, description="netcdf, zarr: the group that holds it")
    axes: AxisNames = Field(
        default=AxisNames(), description="netcdf, zarr: names that the file leaves open"
    )
    axes_at: Literal["centre", "corner"] = Field(
        default="centre",
        description="netcdf, zarr: what axes name of a pixel; the corner is that of the first row "
        "and column",
    )
    select: dict[str, str | int | float] = Field(
        default={},
        description="grib: metadata of the messages to read; netcdf, zarr: the value of each "
        "further dimension, such as a member of an ensemble",
    )
    crs: str | None = Field(
        default=None,
        description="EPSG code, WKT or PROJ text, if the file has no CRS or a wrong one",
    )
    place_by: Literal["axes", "latlon"] | None = Field(
        default=None, description="coordinates to use if a file has both"
    )
    units: Annotated[str, AfterValidator(partial(require_unit, known=FORCING_UNITS))] = Field(
        description="units of the file's values, in any spelling"
    )
    scale: float = Field(
        default=1.0,
        gt=0,
        allow_inf_nan=False,
        description="number * scale + offset is in units, where a file does not say so itself",
    )
    offset: float = Field(
        default=0.0, allow_inf_nan=False, description="units of a temperature only, see scale"
    )
    missing: list[float] = Field(
        default=[], description="numbers that mean missing, besides nodata, before scale and offset"
    )
    step: Duration | None = Field(
        default=None,
        gt=timedelta(0),
        description="what one raster stands for, such as 30min, 3h, 1d; default: the store's step",
    )
    time: TimeLabel = Field(default=TimeLabel(), description="how labels name steps")
    times: Literal["name", "file"] | None = Field(
        default=None, description="source of labels; default: names, if they hold a whole date"
    )
    bounds: Literal["ignore"] | None = Field(
        default=None, description="ignore the file's own time bounds"
    )
    attributes: Literal["ignore"] | None = Field(
        default=None, description="ignore units and names in the file that contradict the catalog"
    )
    totals: Restart | None = Field(
        default=None,
        description="values are running totals, reset this often from 00:00 UTC, or never",
    )
    over_time: Literal["sum", "mean"] | None = Field(
        default=None, description="aggregation in a step"
    )
    min_valid: float = Field(default=0.5, gt=0, le=1, description="minimum valid share of a cell")
    max_missing_steps: int = Field(default=0, ge=0, description="steps that may lack a raster")
    max_invalid: float = Field(
        default=1.0, ge=0, le=1, description="maximum share of invalid pixels in a block"
    )
    max_negative: float = Field(
        default=0.01, ge=0, le=1, description="maximum share of negative pixels in a block"
    )

    _filled: Keys = PrivateAttr(default_factory=dict)

    @field_validator("crs")
    @classmethod
    def _check_crs(cls, value: str | None) -> str | None:
        if value is not None:
            from pyproj import CRS  # slow to import, rarely needed
            from pyproj.exceptions import CRSError

            try:
                CRS.from_user_input(value)
            except CRSError as error:
                raise ValueError(
                    "no CRS has this code or text: expected an EPSG code, WKT or PROJ text"
                ) from error
        return value

    @model_validator(mode="after")
    def _check_driver_keys(self) -> Self:
        for key, drivers in DRIVER_KEYS.items():
            if self.driver not in drivers and self.sets(key):
                known = ", ".join(sorted(drivers))
                raise ValueError(f"{key} is a key of {known}, driver is {self.driver}")
        if self.driver in ("geotiff", "gdal") and not TIME_FIELD.search(self.files):
            raise ValueError(f"files {self.files!r} needs a field such as {{time:%Y%m%d}}")
        if self.driver in DRIVER_KEYS["variable"] and not self.variable:
            raise ValueError(f"driver {self.driver} needs a variable")
        return self

    @model_validator(mode="after")
    def _check_aggregation(self) -> Self:
        kind = FORCING_UNITS[self.units].kind
        if (kind, self.over_time) in (("state", "sum"), ("rate", "mean")):
            raise ValueError(f"over_time: {self.over_time} does not apply to units {self.units!r}")
        if self.totals and not (kind == "amount" and self.sums):
            raise ValueError(
                f"totals of units {self.units!r}: expected an amount, summed over time"
            )
        if self.offset and kind != "state":
            raise ValueError(f"offset {self.offset} of units {self.units!r}: expected 0")
        return self

    def sets(self, key: str) -> bool:
        """Whether a key has another value than its default."""
        return bool(getattr(self, key) != type(self).model_fields[key].get_default())

    @property
    def filled(self) -> Keys:
        """Keys that the product filled in, as in a catalog; empty without one."""
        return self._filled

    @property
    def sums(self) -> bool:
        """Whether rasters are summed over a step of the store, rather than averaged."""
        return (self.over_time or "sum") == "sum" and FORCING_UNITS[self.units].kind != "state"

    @property
    def store_units(self) -> str:
        """Units in the store."""
        return FORCING_UNITS[self.units].store

    def conversion(self, units: str, interval: timedelta, step: timedelta) -> tuple[float, float]:
        """Factor and constant from the mean of a file's numbers over a step to the store's value.

        Args:
            units: of number * scale + offset, a name in `FORCING_UNITS`.
            interval: length of time that one raster represents.
            step: length of the store's step.
        """
        unit = FORCING_UNITS[units]
        factor = unit.factor
        if unit.kind == "rate":
            factor *= step.total_seconds()
        elif self.sums:
            factor *= step / interval
        return factor * self.scale, factor * self.offset + unit.offset
