"""Find the time in the name of a file, and in the names of the folders that hold it."""

from __future__ import annotations

import re
from datetime import datetime

# Digits of a file's name that may be its time, the most exact first.
NAME_TIMES = (
    ("%Y%m%d-S%H%M%S", r"\d{8}-S\d{6}"),
    ("%Y%m%d%H%M%S", r"\d{14}"),
    ("%Y%m%dT%H%M%S", r"\d{8}T\d{6}"),
    ("%Y%m%d_%H%M%S", r"\d{8}_\d{6}"),
    ("%Y-%m-%d_%H:%M:%S", r"\d{4}-\d{2}-\d{2}_\d{2}:\d{2}:\d{2}"),
    ("%Y-%m-%dT%H:%M:%S", r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}"),
    ("%Y%m%d-%H%M%S", r"\d{8}-\d{6}"),
    ("%Y%m%d%H%M", r"\d{12}"),
    ("%Y%m%d_%H%M", r"\d{8}_\d{4}"),
    ("%Y%m%dT%H%M", r"\d{8}T\d{4}"),
    ("%Y%m%d-%H%M", r"\d{8}-\d{4}"),
    ("%Y%m%d%H", r"\d{10}"),
    ("%Y%m%d_%H", r"\d{8}_\d{2}"),
    ("%Y%m%d.%H%M", r"\d{8}\.\d{4}"),
    ("%Y%m%d.%H", r"\d{8}\.\d{2}"),
    ("%Y%j.%H", r"\d{7}\.\d{2}"),
    ("%Y-%m-%d", r"\d{4}-\d{2}-\d{2}"),
    ("%Y_%m_%d", r"\d{4}_\d{2}_\d{2}"),
    ("%Y.%m.%d", r"\d{4}\.\d{2}\.\d{2}"),
    ("%Y%m%d", r"\d{8}"),
    ("%Y%j", r"\d{7}"),
    ("%Y-%m", r"\d{4}-\d{2}(?!-\d)"),
    ("%Y_%m", r"\d{4}_\d{2}(?!_\d)"),
    ("%Y%m", r"\d{6}"),
    ("%Y", r"\d{4}"),
)
# The end of IMERG's half-hour, and the minutes of the day at its start.
END_OF_IMERG = re.compile(r"-E\d{6}(?:\.\d{4})?(?=\.)")
OF_RASTERS = {"%Y%j", "%Y%j.%H", "%Y-%m", "%Y_%m", "%Y%m"}
RASTERS = (".nc", ".nc4", ".h5", ".hdf5", ".hdf", ".tif", ".tiff", ".bil", ".asc", ".zip", ".zarr",
           ".grb", ".grb2", ".grib", ".grib2")  # fmt: skip
PATH_TIMES = (
    ("%Y/%m/%d/%H%M", r"\d{4}/\d{2}/\d{2}/\d{4}"),
    ("%Y/%m/%d/%H", r"\d{4}/\d{2}/\d{2}/\d{2}"),
    ("%Y/%m/%d", r"\d{4}/\d{2}/\d{2}"),
    ("%Y/%j", r"\d{4}/\d{3}"),
    ("%Y/%m%d", r"\d{4}/\d{4}"),
    ("%Y%m/%d", r"\d{6}/\d{2}"),
)
# Names of folders that may be a part of their files' time, in the order in which they are nested.
FOLDER_TIMES = ("%Y", "%Y%m", "%Y-%m", "%Y%m%d", "%Y-%m-%d", "%m", "%d", "%j", "%H")


def time_template(path: str) -> tuple[str, datetime] | None:
    """A file's path with its time as {time:...}, and the time; None if its name holds no date.

    The time may stand in the name more than once, and in the names of the folders: then each is a
    field. Another time in the name, such as the end of the interval, becomes *.

    Args:
        path: with / between folders.
    """
    *folders, name = path.split("/")
    raster = name.lower().endswith(RASTERS)
    for form, digits in NAME_TIMES:
        if form in OF_RASTERS and not raster:  # elsewhere such digits are numbers of sites
            continue
        # (match, time) of all digits that are a date in this form
        found = [
            (match, time)
            for match in re.finditer(rf"(?<!\d){digits}(?!\d)", name)
            if (time := parse_time(match[0], form))
        ]
        if found:
            time = found[0][1]
            for match, other in reversed(found):
                field = f"{{time:{form}}}" if other == time else "*"
                name = name[: match.start()] + field + name[match.end() :]
            name = END_OF_IMERG.sub("-*", name)
            return "/".join([*_folder_fields(folders, time), name]), time
    return _of_whole_path(path) if raster else None


def _of_whole_path(path: str) -> tuple[str, datetime] | None:
    """The template of a path whose folders and name make a time together, such as 2020/001.tif."""
    for form, digits in PATH_TIMES:
        found = re.search(rf"(?<![^/]){digits}(?!\d)", path)
        if found and (time := parse_time(found[0], form)):
            fields = re.sub(r"[^/]+", lambda part: f"{{time:{part[0]}}}", form)
            return path[: found.start()] + fields + path[found.end() :], time
    return None


def parse_time(digits: str, form: str) -> datetime | None:
    """The time that digits spell in a format; None if it is none of the recent centuries."""
    try:
        time = datetime.strptime(digits, form)
    except ValueError:
        return None
    return time if 1800 <= time.year <= 2100 else None


def _folder_fields(folders: list[str], time: datetime) -> list[str]:
    """Names of folders, as fields where they spell a part of the time."""
    fields, forms = [], list(FOLDER_TIMES)
    for folder in folders:
        form = next((one for one in forms if time.strftime(one) == folder), None)
        fields.append(folder if form is None else f"{{time:{form}}}")
        if form is not None:  # what is nested in a month is no month
            forms = forms[forms.index(form) + 1 :]
    return fields
