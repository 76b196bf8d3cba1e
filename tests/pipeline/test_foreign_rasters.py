"""Foreign rasters, as a user would set them up: read right, or refused by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.foreign import outcome
from benchmarks.foreign_rasters import CASES

SLOW = {  # for which the suite has no time, as much like them is here; the benchmark runs them
    "lisflood_fraser", "opera_odim", "rdpa_apcp24h", "radolan_rw", "radolan_ascii, unpacked",
    "radolan_ascii, its own .prj", "chirps_iran, dated by hand", "era5land_percentile",
    "vic_stehekin", "gfs_cprat",
}  # fmt: skip


@pytest.mark.parametrize(
    "case", [one for one in CASES if one.name not in SLOW], ids=lambda case: case.name
)
def test_a_foreign_raster_is_read_right_or_refused(domst_data: Path, tmp_path: Path, case) -> None:
    found = outcome(case, domst_data, tmp_path)
    assert found.right, found.text
