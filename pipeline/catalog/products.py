"""What the files of well-known products always are: the keys of a forcing that `product` fills in.

One entry per product, in a catalog's own keys. To add one: its name in `ProductName`, and an entry
of `PRODUCTS`, with the source of each fact beside it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Literal

Keys = dict[str, Any]
ProductName = Literal[
    "prism", "aorc", "mrms", "stage4", "daymet", "gridmet", "imerg", "era5-land", "cmorph", "eobs"
]


@dataclass(frozen=True)
class Product:
    """What the files of a product always are.

    Attributes:
        keys: of every forcing.
        forcings: by the forcing's name, its code in the names of files, and its keys.
        files: the publisher's name of a file, with {code}; None if it has none.
        known_by: pattern that the names of all its files have, for drafts; None if there is none.
        versions: by a pattern of the files' names, further keys; the first that is found holds. One
            has to be found, unless the catalog says the keys that all of them have.
        hint: names that `versions` know, for messages.
        day_begins: of daily files, from 00:00 UTC.
        pixel: width and height of a pixel [degrees], to tell the product from its like; None if it
            has no such.
        no_31_december: in leap years.
    """

    keys: Keys
    forcings: dict[str, tuple[str, Keys]]
    files: str | None = None
    known_by: str | None = None
    versions: dict[str, Keys] = field(default_factory=dict)
    hint: str = ""
    day_begins: timedelta = timedelta(0)
    pixel: float | None = None
    no_31_december: bool = False


# Days end at 12:00 UTC of their date (PRISM_datasets.pdf). Names and formats: prism.oregonstate.edu
# /formats and ftp.prism.oregonstate.edu/readme.txt: until 2025 PRISM_ppt_provisional_4kmD2_20250101
# _bil.zip with a BIL, then prism_ppt_us_25m_20250312.zip with a GeoTIFF. Neither states units.
PRISM = Product(
    keys={"band": 1, "step": "1d", "time": {"label": "end", "offset": "12h"}},
    forcings={
        "precipitation": ("ppt", {"units": "mm"}),
        "temperature": ("tmean", {"units": "degC"}),
        "minimum_temperature": ("tmin", {"units": "degC"}),
        "maximum_temperature": ("tmax", {"units": "degC"}),
    },
    files="prism_{code}_us_25m_{time:%Y%m%d}.zip",
    known_by=r"^(?:prism|PRISM)_[a-z]+_",
    versions={
        r"\.tif$": {"driver": "geotiff"},
        r"\.bil$": {"driver": "gdal"},
        r"_bil\.zip$": {"driver": "gdal", "inside": "*.bil"},
        r"\.zip$": {"driver": "gdal", "inside": "*.tif"},
    },
    hint=".tif, .bil or .zip",
    day_begins=timedelta(hours=12),
)

# registry.opendata.aws/noaa-nws-aorc: a Zarr store per year; version 1.0 was a NetCDF file per
# variable and hour. Their time is wgrib2's verification time, which is the end of an accumulation.
AORC = Product(
    keys={"step": "1h", "time": {"label": "end"}},
    forcings={
        "precipitation": ("APCP", {"variable": "APCP_surface", "units": "kg m-2"}),
        "temperature": ("TMP", {"variable": "TMP_2maboveground", "units": "K"}),
    },
    files="{time:%Y}.zarr",
    known_by=r"^AORC_|^\d{4}\.zarr$",
    versions={r"\.zarr$": {"driver": "zarr"}, r"\.nc4?$": {"driver": "netcdf"}},
    hint=".zarr or .nc4",
)

# An hour is named by its end. NSSL's UserTable_MRMS: missing is -1, no coverage -3. Elements:
# GDAL's grib2_table_4_2_local_MRMS.csv.
MRMS = Product(
    keys={
        "driver": "grib",
        "units": "mm",
        "missing": [-1, -3],
        "step": "1h",
        "time": {"label": "end"},
    },
    forcings={"precipitation": ("QPE", {})},
    known_by=r"_QPE_01H_",
    files="MRMS_MultiSensor_QPE_01H_Pass2_00.00_{time:%Y%m%d-%H%M%S}.grib2",
    versions={
        f"{name}_00.00_.*\\.grib2$": {"select": {"GRIB_ELEMENT": element}}
        for name, element in {
            "GaugeCorr_QPE_01H": "GaugeCorrQPE01H",  # until October 2020
            "GaugeOnly_QPE_01H": "GaugeOnlyQPE01H",
            "RadarOnly_QPE_01H": "RadarOnly_QPE_01H",
            "MultiSensor_QPE_01H_Pass1": "MultiSensor_QPE_01H_Pass1",
            "MultiSensor_QPE_01H_Pass2": "MultiSensor_QPE_01H_Pass2",
        }.items()
    },
    hint="GaugeCorr_QPE_01H, MultiSensor_QPE_01H_Pass2 or another QPE_01H, unpacked (.grib2)",
)

# data.eol.ucar.edu/dataset/21.093: amounts of the hours before the time in the name, days from
# 12:00 to 12:00 UTC; GRIB 1 (ST4.2002010100.01h) until 20 July 2020, then GRIB 2
# (st4_conus.2020072000.01h.grb2). GDAL tells the length of an amount in edition 1 by its seconds,
# in edition 2 by its name.
STAGE4 = Product(
    keys={"driver": "grib", "units": "kg m-2", "time": {"label": "end"}},
    forcings={"precipitation": ("APCP", {})},
    files="st4_conus.{time:%Y%m%d%H}.01h.grb2",
    known_by=r"^(?:ST4|st4_conus)\.",
    versions={
        pattern: {"step": step, "select": select}
        for hours, step in ((1, "1h"), (6, "6h"), (24, "1d"))
        for pattern, select in (
            (rf"\.{hours:02d}h\.grb2$", {"GRIB_ELEMENT": f"APCP{hours:02d}"}),
            (
                rf"\.{hours:02d}h(?:\.grb)?$",
                {"GRIB_ELEMENT": "APCP", "GRIB_FORECAST_SECONDS": 3600 * hours},
            ),
        )
    },
    hint=".01h, .06h or .24h, with .grb2 behind it if it is GRIB 2, unpacked",
    day_begins=timedelta(hours=12),
)

# daymet.ornl.gov/datasupport.html: 31 December of leap years is discarded. A file per variable and
# year, times at noon; days are those of local clocks, which the files' bounds put at 00:00 UTC.
# Other times, as in what some services cut, do not fit into days from 00:00 UTC and are refused.
DAYMET = Product(
    keys={
        "driver": "netcdf",
        "step": "1d",
        "times": "file",
        "time": {"label": "start", "offset": "-12h"},
    },
    forcings={
        "precipitation": ("prcp", {"variable": "prcp", "units": "mm/day"}),
        "minimum_temperature": ("tmin", {"variable": "tmin", "units": "degC"}),
        "maximum_temperature": ("tmax", {"variable": "tmax", "units": "degC"}),
    },
    files="daymet_v4_daily_na_{code}_{time:%Y}.nc",
    known_by=r"^daymet_v\d_daily_",
    no_31_december=True,
)

# Attribute note5 of the files: days end at midnight, Mountain Standard Time, 07:00 UTC of the next
# day. climatologylab.org/gridmet.html: names and variables; pet is of grass.
GRIDMET = Product(
    keys={
        "driver": "netcdf",
        "step": "1d",
        "times": "file",
        "time": {"label": "start", "offset": "7h"},
    },
    forcings={
        "precipitation": ("pr", {"variable": "precipitation_amount", "units": "mm"}),
        "minimum_temperature": ("tmmn", {"variable": "air_temperature", "units": "K"}),
        "maximum_temperature": ("tmmx", {"variable": "air_temperature", "units": "K"}),
        "potential_evaporation": (
            "pet",
            {"variable": "potential_evapotranspiration", "units": "mm"},
        ),
    },
    files="{code}_{time:%Y}.nc",
    known_by=r"^(?:pr|tmmn|tmmx|pet)_\d{4}\.nc$",
    day_begins=timedelta(hours=7),
)

# Half-hourly rates, named by their start (GPM's IMERG technical documentation and file names).
# Version 7 renamed precipitationCal; files that GES DISC cut (.SUB.hdf5) have no group.
IMERG = Product(
    keys={"driver": "netcdf", "units": "mm/h", "step": "30min", "time": {"label": "start"}},
    forcings={"precipitation": ("3IMERG", {})},
    known_by=r"^3B-HHR",
    files="3B-HHR.MS.MRG.3IMERG.{time:%Y%m%d-S%H%M%S}-*.V07B.HDF5",
    versions={
        r"^3B-HHR.*V06.*\.SUB\.hdf5$": {"variable": "precipitationCal"},
        r"^3B-HHR.*V06": {"group": "Grid", "variable": "precipitationCal"},
        r"^3B-HHR.*V07": {"group": "Grid", "variable": "precipitation"},
    },
    hint="3B-HHR (half-hourly), and V06 or V07",
)

# confluence.ecmwf.int, "ERA5-Land: data documentation", Accumulations: totals of the hours since
# 00:00 UTC up to the time of the label; t2m is of the instant. The CDS lets users choose the names.
# ERA5 has the same variables and units on pixels of 0.25 degree, but as amounts of each hour.
ERA5_LAND = Product(
    keys={"step": "1h", "times": "file", "time": {"label": "end"}},
    forcings={
        "precipitation": ("tp", {"variable": "tp", "units": "m", "totals": "1d"}),
        "temperature": ("t2m", {"variable": "t2m", "units": "K"}),
    },
    versions={r"\.nc$": {"driver": "netcdf"}},
    hint=".nc, as the CDS gives NetCDF",
    pixel=0.1,
)

# NCEI's CMORPH CDR: rates, named by their start; the coordinate of time says so, and has bounds.
CMORPH = Product(
    keys={
        "driver": "netcdf",
        "variable": "cmorph",
        "units": "mm/h",
        "time": {"label": "start"},
    },
    forcings={"precipitation": ("CMORPH", {})},
    known_by=r"^CMORPH_V",
    files="CMORPH_V1.0_ADJ_0.25deg-HLY_{time:%Y%m%d%H}.nc",
    versions={
        "0.25deg-HLY_": {"step": "1h"},
        "8km-30min_": {"step": "30min", "times": "file"},
    },
    hint="0.25deg-HLY or 8km-30min",
)

# surfobs.climate.copernicus.eu/dataaccess/access_eobs.php: names, variables, units. The stations'
# days are not the same ones; those read in the morning are moved back a day, to the one on which
# most of it fell (eca.knmi.nl/helptext/eobsv3.0.html). Beside the mean there is the spread of the
# ensemble, rr_ens_spread_...; older versions have none, as rr_0.25deg_reg_v17.0.nc.
EOBS = Product(
    keys={"step": "1d", "times": "file", "time": {"label": "start"}},
    forcings={
        "precipitation": ("rr", {"variable": "rr", "units": "mm"}),
        "temperature": ("tg", {"variable": "tg", "units": "degC"}),
        "minimum_temperature": ("tn", {"variable": "tn", "units": "degC"}),
        "maximum_temperature": ("tx", {"variable": "tx", "units": "degC"}),
    },
    files="{code}_ens_mean_0.1deg_reg_*.nc",
    known_by=r"^[a-z]{2}_ens_mean_.*_reg_",
    versions={r"_ens_mean_|^[a-z]{2}_0\.\d+deg_reg_": {"driver": "netcdf"}},
    hint="ens_mean",
)

PRODUCTS: dict[str, Product] = {
    "prism": PRISM,
    "aorc": AORC,
    "mrms": MRMS,
    "stage4": STAGE4,
    "daymet": DAYMET,
    "gridmet": GRIDMET,
    "imerg": IMERG,
    "era5-land": ERA5_LAND,
    "cmorph": CMORPH,
    "eobs": EOBS,
}
