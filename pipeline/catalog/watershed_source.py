"""The catalog's description of the watersheds: polygons, or outlets to delineate them from."""

from __future__ import annotations

import re
from functools import partial
from typing import Annotated, Any, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    Field,
    StringConstraints,
    Tag,
    WithJsonSchema,
    model_validator,
)

from pipeline.catalog.time import Strict
from pipeline.units import AREA_M2, require_unit

UNIT_METRES = {"m": 1.0, "km": 1000.0}  # of lengths


def _metres(value: Any) -> Any:
    """Parse a length such as `500m` or `2km`; a number is metres."""
    if isinstance(value, str):
        number = re.fullmatch(r"(\d{1,6}(?:\.\d+)?) ?(m|km)", value.strip())
        if number is None:
            raise ValueError("expected a length such as 500m or 2km")
        return float(number[1]) * UNIT_METRES[number[2]]
    return value


Length = Annotated[
    float,
    BeforeValidator(_metres),
    WithJsonSchema({"type": ["string", "number"], "examples": ["2km", "500m", 500]}),
]
Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


class OutletPoint(Strict):
    """A gauge whose watershed is delineated, written in the catalog."""

    site: Text = Field(description="site number; quote it")
    x: float = Field(allow_inf_nan=False, description="easting, or longitude [degrees]")
    y: float = Field(allow_inf_nan=False, description="northing, or latitude [degrees]")
    name: Text | None = Field(default=None, description="of the gauge; default the site number")
    area: float | None = Field(
        default=None, gt=0, allow_inf_nan=False, description="known drainage area, in area_units"
    )


Outlets = Annotated[  # the tag stands in messages
    Annotated[str, Tag("file")] | Annotated[list[OutletPoint], Tag("list")],
    Discriminator(lambda value: "list" if isinstance(value, list) else "file"),
]


class Watersheds(Strict):
    """The gauges' watersheds: a file of polygons, or outlets from which they are delineated."""

    file: str | None = Field(
        default=None, description="path of a vector file of polygons, with a CRS; or outlets"
    )
    outlets: Outlets | None = Field(
        default=None,
        description="gauges as points, a CSV or vector file or a list; their watersheds are "
        "delineated on the terrain",
    )
    layer: str | None = Field(
        default=None, description="which one, if the file has several of polygons, or of points"
    )
    crs: str | None = Field(
        default=None,
        description="EPSG code, WKT or PROJ text, if the file has no CRS or a wrong one; of "
        "outlets in a CSV file or a list, default longitude and latitude",
    )
    site_field: str | None = Field(
        default=None, description="its field of site numbers; default for outlets: site or site_no"
    )
    name_field: str | None = Field(
        default=None, description="its field of names; default for outlets: name, if there is one"
    )
    area_field: str | None = Field(
        default=None,
        description="reported drainage area; default for outlets: area, if there is one",
    )
    x_field: str | None = Field(
        default=None, description="CSV of outlets: its column of x; default: lon, longitude or x"
    )
    y_field: str | None = Field(
        default=None, description="CSV of outlets: its column of y; default: lat, latitude or y"
    )
    area_units: Annotated[str, AfterValidator(partial(require_unit, known=AREA_M2))] = Field(
        default="km2", description="unit of the reported areas: m2, km2 or mi2"
    )
    snap: Length | None = Field(
        default=None,
        gt=0,
        description="outlets: how far a gauge may lie from its river [m]; default 1km",
    )
    area_tolerance: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="outlets: largest relative difference of the delineated from the known area; "
        "default 0.2",
    )
    sites: list[str] | None = Field(default=None, description="site numbers; default all")

    @model_validator(mode="after")
    def _check_source(self) -> Self:
        if (self.file is None) == (self.outlets is None):
            raise ValueError("expected one of file and outlets")
        if self.file is not None:
            if self.site_field is None:
                raise ValueError("site_field: missing: this key is required")
            self._refuse("outlets", "x_field", "y_field", "snap", "area_tolerance")
        elif self.points:
            fields = ("site_field", "name_field", "area_field", "x_field", "y_field", "layer")
            self._refuse("a file", *fields)
        if self.outlets == []:
            raise ValueError("outlets: none: expected one a gauge")
        if (self.x_field is None) != (self.y_field is None):
            raise ValueError("expected both of x_field and y_field, or none")
        return self

    def _refuse(self, of: str, *keys: str) -> None:
        """Refuse keys that only another kind of watersheds uses."""
        if given := [key for key in keys if getattr(self, key) is not None]:
            raise ValueError(f"{', '.join(given)}: expected with {of} only")

    @property
    def path(self) -> str | None:
        """Path of the polygons or outlets; None if they stand in the catalog."""
        return self.outlets if isinstance(self.outlets, str) else self.file

    @property
    def points(self) -> list[OutletPoint]:
        """The outlets that stand in the catalog."""
        return self.outlets if isinstance(self.outlets, list) else []
