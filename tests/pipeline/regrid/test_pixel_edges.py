"""Transformations from a raster's CRS to longitude and latitude."""

from __future__ import annotations

import pytest
from pyproj import CRS

from pipeline.errors import InputError
from pipeline.regrid.pixel_edges import _Globe


def test_a_crs_without_longitude_and_latitude_is_refused() -> None:
    plane = CRS.from_wkt('LOCAL_CS["a drawing",UNIT["metre",1]]')
    with pytest.raises(InputError, match="raster CRS a drawing: expected one on the globe"):
        _Globe.of(plane)


def test_longitudes_count_from_the_prime_meridian_of_the_crs() -> None:
    paris = CRS.from_epsg(4807)  # degrees are grads there, from Paris, 2.5969213 grads east
    globe = _Globe.of(paris)
    assert globe.meridian == pytest.approx(2.33722917)
    assert globe.unit == pytest.approx(0.9)
