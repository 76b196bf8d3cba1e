"""Attributes of the store's arrays after the CF conventions 1.11."""

from __future__ import annotations

from pipeline.gauges.flags import FLAGS

CONVENTIONS = "CF-1.11"
HISTORY = "made by Dom-ST (pipeline run) from raw rasters, gauge records and polygons"
EPOCH = "seconds since 1970-01-01 00:00:00"
TIME = {
    "standard_name": "time",
    "long_name": "start of the step, UTC",
    "units": EPOCH,
    "calendar": "proleptic_gregorian",
    "axis": "T",
    "bounds": "time_bnds",
    "units_metadata": "leap_seconds: none",
}
LATITUDE = {"standard_name": "latitude", "units": "degrees_north"}
LONGITUDE = {"standard_name": "longitude", "units": "degrees_east"}
MARKS = {"long_name": "stamp of what a block was made from, 0: not done"}
NAME = {"long_name": "name of the gauge"}
METHOD = {"long_name": "how flow distances were found: d8, traced; great-circle, straight"}
OUTLET = {
    "longitude": {**LONGITUDE, "long_name": "longitude of the outlet"},
    "latitude": {**LATITUDE, "long_name": "latitude of the outlet"},
}
OUTLET_CELL = {
    "cell_y": {"long_name": "row of the outlet's cell in /region, from 0", "units": "1"},
    "cell_x": {"long_name": "column of the outlet's cell in /region, from 0", "units": "1"},
}
COLUMNS = {  # of the table of watersheds
    "drainage_area": {"long_name": "area of the polygon on the WGS84 ellipsoid", "units": "m2"},
    "reported_drainage_area": {"long_name": "area that the polygons' file states", "units": "m2"},
    "traced_drainage_area": {"long_name": "area that drains to the outlet", "units": "m2"},
    "slope": {"long_name": "mean height above the outlet over mean flow distance", "units": "1"},
    "discharge_shift": {
        "long_name": "time from the end of a step to the end of its interval of discharge",
        "units": "s",
    },
    "window_row": {"long_name": "first row of the window in /region, from 0", "units": "1"},
    "window_column": {"long_name": "first column of the window in /region, from 0", "units": "1"},
    "window_rows": {"long_name": "rows of the window", "units": "1"},
    "window_columns": {"long_name": "columns of the window", "units": "1"},
    "cell_count": {
        "long_name": "number of cells that the watershed touches",
        "units": "1",
        "sample_dimension": "cell",
    },
}
COUNTS = ("window_row", "window_column", "window_rows", "window_columns", "cell_count")
SITE_NO = {"long_name": "site number", "cf_role": "timeseries_id"}
POLYGON = {"long_name": "outline of the watershed, WKT in longitude and latitude"}
FORCINGS = {  # those with a CF standard name
    "precipitation": {
        "standard_name": "lwe_thickness_of_precipitation_amount",
        "long_name": "precipitation per step",
    },
    "temperature": {
        "standard_name": "air_temperature",
        "long_name": "mean air temperature",
        "units_metadata": "temperature: on_scale",
    },
}
UNITS = {"mm": "mm", "degC": "degree_Celsius"}  # of forcings: the catalog's, and CF's
OVER_TIME = {  # cell methods of sums, and of means
    True: "time: sum area: mean",
    False: "time: mean area: mean",
}
AREA = {"standard_name": "cell_area", "long_name": "area on the WGS84 ellipsoid", "units": "m2"}
COVERAGE = {"long_name": "share of the cell's area inside the watershed", "units": "1"}
DISTANCE = {
    "long_name": "distance along the flow path to the outlet",
    "units": "m",
    "cell_methods": "area: mean where watershed",
}
CELLS = {  # of all watersheds, one after the other
    "row": {"long_name": "row of the cell in /region, from 0", "units": "1"},
    "column": {"long_name": "column of the cell in /region, from 0", "units": "1"},
    "coverage": COVERAGE,
    "flow_distance": DISTANCE,
}
DISCHARGE = {
    "standard_name": "water_volume_transport_in_river_channel",
    "long_name": "discharge at the outlet",
    "units": "m3 s-1",
    "cell_methods": "time: mean",
    "ancillary_variables": "flag",
}
RUNOFF = {
    "long_name": "discharge over drainage area, per step",
    "units": "mm",
    "cell_methods": "time: sum",
}
FLAG = {
    "standard_name": "status_flag",
    "long_name": "what the agency says of the discharge",
    "flag_values": list(FLAGS.values()),
    "flag_meanings": " ".join(FLAGS),
}
