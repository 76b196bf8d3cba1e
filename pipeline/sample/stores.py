"""A store of water that drains as a power of what it holds, solved implicitly."""

from __future__ import annotations

import math

import numba

TOLERANCE = 1e-12  # of the root, relative
MAX_NEWTON = 60


@numba.njit(cache=True, nogil=True, inline="always")
def held_after(water: float, rate: float, guess: float) -> float:
    """Solve x + rate x^(3/2) = water for x: what is left of `water` after an implicit step.

    The outflow of the step, rate x^(3/2), is best taken as water - x: so no water is made or lost.
    The equation is a cubic in the root of x, which Newton's method solves from any `guess`: after
    its first step it falls monotonously to the solution, whatever the length of the step.

    Args:
        water: held before the step, and what flows in during it, >= 0.
        rate: >= 0, grows with the step.
        guess: of x, the solution of the step before.
    """
    highest = math.sqrt(water)  # of the root
    if highest == 0.0:
        return 0.0
    root = min(math.sqrt(guess), highest) if guess > 0.0 else highest
    for _ in range(MAX_NEWTON):
        square = root * root
        step = (square * (1.0 + rate * root) - water) / (root * (2.0 + 3.0 * rate * root))
        moved = min(root - step, highest)
        near = abs(moved - root) <= TOLERANCE * root
        root = moved
        if near:
            break
    return min(root * root, water)
