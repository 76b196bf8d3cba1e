"""Fixtures of the pipeline's tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.pipeline.handmade import World, make_world


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A very small hand-made world of raw files, its store not yet written."""
    return make_world(tmp_path)


@pytest.fixture
def stored(world: World) -> World:
    """The same world with its store."""
    result = world.run()
    assert result.exit_code == 0, result.output
    return world
