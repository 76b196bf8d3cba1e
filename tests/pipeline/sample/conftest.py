"""The small world, its terrain and its rivers."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.sample.build import Rivers, generators, make_rivers
from pipeline.sample.terrain import make_elevation
from pipeline.sample.world import World, tiny_world


@pytest.fixture(scope="session")
def world() -> World:
    return tiny_world()


@pytest.fixture(scope="session")
def elevation(world: World) -> np.ndarray:
    return make_elevation(world, generators(world.seed)["terrain"])


@pytest.fixture(scope="session")
def made(world: World, elevation: np.ndarray) -> Rivers:
    return make_rivers(world, elevation, generators(world.seed))
