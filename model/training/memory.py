"""Estimate the memory of a head in a pack, on its device and on the host.

The terms follow the tensors that live at the largest moment of an update or a validation. Their
factors were counted on a CPU (`tests/model/training/test_memory.py` counts again).
"""

from __future__ import annotations

from dataclasses import dataclass

from model.network.contribution import lags_needed
from model.network.domst import MAX_ENCODED_STEPS
from model.settings import Settings

FLOAT, DOUBLE = 4, 8  # bytes
CELL_FLOATS = 6  # of each encoded step and cell, forward and for the gradients
IMAGE_FLOATS = 1.5  # likewise, and of each image: rain, contributions, other forcings
LAYER_FLOATS = 1.25  # likewise, and of each map of a pack: its copies
SIMULATED_CELL_FLOATS = 8  # likewise, without gradients
UNIT_FLOATS = 24  # of each step of a stretch and unit of the LSTM, with gradients
SIMULATED_UNIT_FLOATS = 9  # likewise, without
STEP_FLOATS = 160  # of each encoded step: the encoder's features and their gradients
LAG_DOUBLES = 16  # of each cell and lag of the travel-time kernel


@dataclass(frozen=True)
class Record:
    """What the memory of every head of a store depends on.

    Attributes:
        steps: of the record.
        learnable: first steps that an update learns from, at most.
        step_seconds: length of a step.
        forcings: number of forcings, precipitation included.
    """

    steps: int
    learnable: int
    step_seconds: float
    forcings: int


def device_bytes(cells: int, path: float, record: Record, settings: Settings) -> int:
    """Bytes of a head in a pack whose largest watershed has `cells` cells.

    Args:
        cells: of the pack's largest watershed.
        path: its longest flow path [m].
        record: of the store.
        settings: of the run.
    """
    padded, hidden = cells + 1, settings.hidden
    steps = settings.warmup + record.steps
    lags = lags_needed(path, record.step_seconds, settings.slowest_velocity)
    layers = record.forcings + settings.wetness_states  # rain, other forcings, wetness
    series = steps * layers * padded
    whole = settings.warmup + record.learnable
    stretches = settings.batch * (settings.warmup + settings.stretch)
    encoded = min(stretches + settings.batch * lags, whole)
    per_cell = CELL_FLOATS + IMAGE_FLOATS * (record.forcings + 1) + LAYER_FLOATS * layers
    kernel = LAG_DOUBLES * DOUBLE // FLOAT * padded * lags
    update = (
        encoded * (per_cell * padded + STEP_FLOATS + 3 * lags)
        + stretches * UNIT_FLOATS * hidden
        + kernel
    )
    piece = min(steps, MAX_ENCODED_STEPS + lags)
    simulated = (
        piece * (SIMULATED_CELL_FLOATS * padded + STEP_FLOATS + 3 * lags)
        + steps * SIMULATED_UNIT_FLOATS * hidden
        + kernel
    )
    return FLOAT * round(series + max(update, simulated))


def host_bytes(cells: int, record: Record) -> int:
    """Bytes of a head's data on the host while its pack is trained: forcings and evaporation."""
    return FLOAT * record.steps * cells * (record.forcings + 1)
