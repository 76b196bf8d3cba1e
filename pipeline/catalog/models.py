"""Read and validate catalogs, the YAML files that describe raw data.

Each unknown key and each bad value is reported in one line with the file, the key, the value and
the expectation.
"""

from __future__ import annotations

import hashlib
import os
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    Field,
    PrivateAttr,
    ValidationError,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    field_validator,
    model_validator,
)

from pipeline.catalog.checks import Checks
from pipeline.catalog.fetch import Fetch
from pipeline.catalog.gauge_source import SITE, USGS_FORMATS, Columns, Gauges
from pipeline.catalog.presets import preset_keys, require_days
from pipeline.catalog.problems import describe_problem, open_keys
from pipeline.catalog.raster_source import RasterSource
from pipeline.catalog.strict_yaml import read_mapping
from pipeline.catalog.time import NEVER, STEP, Period, Strict
from pipeline.catalog.watershed_source import Watersheds
from pipeline.errors import InputError
from pipeline.storage import Location, parse_location

PRECIPITATION = "precipitation"
FORCING_NAME = r"^[A-Za-z][A-Za-z0-9_]*$"  # forcings become arrays of the store
RESERVED_NAMES = frozenset(  # other arrays of the store
    [
        "time",
        "time_bnds",
        "x",
        "y",
        "spatial_ref",
        "cell_area",
        "coverage",
        "flow_distance",
        "discharge",
        "flag",
        "runoff",
    ]
)


Numbering = Literal["esri", "ldd", "taudem", "grass", "clockwise", "clockwise_east", "whitebox"]
EightValues = tuple[int, int, int, int, int, int, int, int]


class Terrain(Strict):
    """Source of flow directions: a DEM, from which they are derived, or a D8 raster."""

    dem: str | None = Field(default=None, description="path of elevations; or d8")
    d8: str | None = Field(default=None, description="path of D8 flow directions; or dem")
    variable: str | None = Field(default=None, description="of a NetCDF file that holds several")
    codes: Numbering | EightValues | None = Field(
        default=None,
        description="numbering of the d8 raster; or its values for N, NE, E, SE, S, SW, W, NW",
    )
    crs: str | None = Field(
        default=None, description="EPSG code, WKT or PROJ text, if it has no CRS or a wrong one"
    )
    nodata: list[float] = Field(
        default=[], description="values without elevation or direction, besides the file's own"
    )
    outlet_snap: float = Field(default=1000.0, gt=0, description="search radius [m]")

    @model_validator(mode="after")
    def _check_raster(self) -> Self:
        if (self.dem is None) == (self.d8 is None):
            raise ValueError("expected one of dem and d8")
        if (self.d8 is None) != (self.codes is None):
            raise ValueError("expected codes if, and only if, there is d8")
        if isinstance(self.codes, tuple) and len(set(self.codes)) < len(self.codes):
            raise ValueError(f"codes {list(self.codes)}: expected eight different values")
        return self

    @property
    def raster(self) -> str:
        """Path of the DEM or the D8 raster."""
        path = self.dem or self.d8
        assert path is not None
        return path


class Catalog(Strict):
    """One region: its period, rasters, gauges, watersheds and terrain."""

    title: str = Field(description="what the data is; shown with every result")
    synthetic: bool = Field(
        default=False, description="made-up data: stated wherever results are shown"
    )
    root: str = Field(default=".", description="base of relative paths; $VARIABLES are expanded")
    period: Period = Field(description="the store's time axis")
    bounds: tuple[float, float, float, float] | None = Field(
        default=None, description="west, south, east, north; default: around the watersheds"
    )
    forcings: dict[Annotated[str, Field(pattern=FORCING_NAME)], RasterSource] = Field(
        description="by name, the raster series; precipitation is one of them"
    )
    gauges: Gauges = Field(description="the discharge records")
    watersheds: Watersheds = Field(description="the polygons, or the outlets")
    terrain: Terrain | None = Field(
        default=None, description="DEM or flow directions; without, flow distances are guessed"
    )
    block_steps: int | None = Field(default=None, ge=1, description="steps per block")
    versions: Literal["time", "content"] = Field(
        default="time", description="how changed raw rasters are detected"
    )
    checks: Checks | None = Field(default=None, description="what domst check is to accept")
    fetch: Fetch | None = Field(default=None, description="what domst fetch downloads")

    _path: Path = PrivateAttr(default=Path("."))
    _text: str = PrivateAttr(default="")

    @field_validator("forcings", mode="wrap")
    @classmethod
    def _fill_in(
        cls, value: Any, validate: ValidatorFunctionWrapHandler, info: ValidationInfo
    ) -> dict[str, RasterSource]:
        """Add what each forcing's product implies to what the catalog says."""
        forcings = value if isinstance(value, dict) else {}
        filled = {
            name: preset_keys(name, given, info.data.get("period"))
            for name, given in forcings.items()
            if isinstance(given, dict) and given.get("product") is not None
        }
        added = {name: {**forcings[name], **keys} for name, keys in filled.items()}
        sources: dict[str, RasterSource] = validate({**forcings, **added} if added else value)
        for name, keys in filled.items():
            sources[name]._filled = keys
        return sources

    @model_validator(mode="after")
    def _check_forcings(self) -> Self:
        rain = self.forcings.get(PRECIPITATION)
        if rain is None:
            raise ValueError(f"forcings {sorted(self.forcings)} lack {PRECIPITATION!r}")
        if not (rain.sums and rain.store_units == "mm"):
            raise ValueError(
                f"precipitation units {rain.units!r}: expected an amount or a rate, such as 'mm'"
            )
        for name, source in self.forcings.items():
            if name != PRECIPITATION and source.sets("max_negative"):
                raise ValueError(f"forcings.{name}.max_negative: expected for {PRECIPITATION} only")
            if source.step and (source.step > (step := STEP[self.period.step])):
                raise ValueError(
                    f"forcings.{name}.step: {source.step} is coarser than the period's: expected "
                    f"at most {step}"
                )
            if source.step and step % source.step:
                raise ValueError(
                    f"forcings.{name}.step: {source.step} does not divide the period's {step}"
                )
            own = source.step or STEP[self.period.step]
            stretch = None if source.totals == NEVER else source.totals
            if stretch and (stretch % own or timedelta(days=1) % stretch):
                raise ValueError(
                    f"forcings.{name}.totals: {source.totals}: expected a whole number of steps of "
                    f"{own} that divides a day"
                )
            require_days(name, source, self.period)
            if name in RESERVED_NAMES or name.endswith("valid_fraction"):
                raise ValueError(f"forcings.{name}: expected a name that the store does not use")
        return self

    @model_validator(mode="after")
    def _check_bounds(self) -> Self:
        if self.bounds is not None:
            west, south, east, north = self.bounds
            within = -180 <= west < east <= 360 and (east <= 180 or west >= 0)
            if not (within and -90 <= south < north <= 90):
                raise ValueError(
                    f"bounds {self.bounds}: expected west < east within -180..180, or 0..360, and "
                    "south < north within -90..90"
                )
        return self

    @model_validator(mode="after")
    def _check_outlets(self) -> Self:
        if self.watersheds.outlets is not None and self.terrain is None:
            raise ValueError(
                "watersheds.outlets: expected terrain, a DEM or D8 directions, to delineate them on"
            )
        return self

    @model_validator(mode="after")
    def _check_fetch(self) -> Self:
        if self.fetch is None:
            return self
        if unknown := sorted(self.fetch.forcings.keys() - self.forcings.keys()):
            raise ValueError(f"fetch.forcings: {', '.join(unknown)}: expected names of forcings")
        if unused := sorted(self.fetch.services.keys() - self.fetch.used):
            raise ValueError(f"fetch.services: {', '.join(unused)}: expected services in use")
        if self.fetch.watersheds and self.watersheds.file is None:
            raise ValueError("watersheds.file: missing: expected the polygons to fetch")
        if (self.fetch.gauges or self.fetch.watersheds) and not self.watersheds.sites:
            raise ValueError("watersheds.sites: missing: expected the sites to fetch")
        return self

    @model_validator(mode="after")
    def _check_single_sites(self) -> Self:
        columns = self.gauges.columns or Columns()
        one = SITE in self.gauges.files or len(self.watersheds.sites or ()) == 1
        if columns.site is None and not (one or columns.wide):
            raise ValueError(
                "gauges.columns.site: null: expected {site} in gauges.files, or in "
                "gauges.columns.discharge, or one site in watersheds.sites"
            )
        return self

    @property
    def usgs(self) -> bool:
        """Whether site numbers are the USGS's, of eight digits at least."""
        fetched = self.fetch is not None and bool(self.fetch.gauges or self.fetch.watersheds)
        return self.gauges.format in USGS_FORMATS or self.gauges.agency == "usgs" or fetched

    @property
    def path(self) -> Path:
        """Path of the catalog file."""
        return self._path

    @property
    def text(self) -> str:
        """Text of the catalog file."""
        return self._text

    @property
    def digest(self) -> str:
        """SHA-256 of the text, hexadecimal."""
        return hashlib.sha256(self._text.encode()).hexdigest()

    @property
    def watersheds_path(self) -> Path:
        """Path of the polygons or outlets; of the catalog, if they stand in it.

        Raises:
            InputError: as `resolve`.
        """
        path = self.watersheds.path
        return self.path if path is None else self.resolve(path)

    def locate(self, path: str) -> Location:
        """Make a path of this catalog absolute, or return its URL.

        Relative paths start at `root`, and a relative `root` at the catalog's own folder.

        Raises:
            InputError: a $VARIABLE in `root` is not set; the path is invalid; as
                `pipeline.storage.parse_location`.
        """
        root = os.path.expandvars(self.root)
        if "$" in root:
            raise InputError(
                f"{self.path}: root: {self.root!r}: expected the environment variable to be set"
            )
        if "://" in path:
            return parse_location(path)
        if "://" in root and not path.startswith("/"):
            return parse_location(f"{root.rstrip('/')}/{path}")
        try:
            return (self.path.parent / root / path).resolve()
        except (ValueError, RuntimeError) as error:  # a NUL character; a loop of links
            raise InputError(f"{self.path}: path {path!r}: {error}: expected a path") from error

    def resolve(self, path: str) -> Path:
        """Make a path of this catalog absolute that must be local.

        Raises:
            InputError: as `locate`; it is a URL.
        """
        found = self.locate(path)
        if not isinstance(found, Path):
            raise InputError(
                f"{self.path}: {found}: expected a path: only rasters are read from URLs"
            )
        return found


def load_catalog(path: str | os.PathLike[str]) -> Catalog:
    '''Read and validate a catalog.

    Args:
        path: YAML file that describes the raw data of a region.

    Returns:
        The catalog, immutable. None of the data that it describes is opened.

    Raises:
        InputError: the file is not readable, not YAML, or has unknown keys or bad values. The
            message is one line with the file, key, value and expectation of each problem.

    Example:
        >>> import tempfile
        >>> text = """
        ... title: Upper basin
        ... period: {step: day, start: 2020-01-01, end: 2020-02-01}
        ... forcings:
        ...   precipitation: {driver: geotiff, files: "rain/{time:%Y%m%d}.tif", units: mm d-1}
        ... gauges: {format: csv, files: gauges.csv, units: cfs}
        ... watersheds: {file: basins.gpkg, site_field: gauge}
        ... """
        >>> with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        ...     _ = file.write(text)
        ...     file.flush()
        ...     catalog = load_catalog(file.name)
        >>> catalog.title, len(catalog.period.times)
        ('Upper basin', 31)
        >>> catalog.forcings["precipitation"].units, catalog.gauges.units
        ('mm/day', 'ft3/s')
    '''
    path = Path(path)
    data, text = read_mapping(path, "a catalog")
    if left := [*open_keys(data)]:
        raise InputError(
            f"{path}: {', '.join(left)}: OPEN: expected a value, which domst init did not find out"
        )
    try:
        catalog = Catalog.model_validate(data)
    except ValidationError as error:
        problems = (
            describe_problem(problem, Catalog) for problem in error.errors(include_url=False)
        )
        raise InputError("; ".join(f"{path}: {problem}" for problem in problems)) from error
    catalog._path, catalog._text = path.resolve(), text
    return catalog
