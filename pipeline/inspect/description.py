"""What a file was found to hold, as lines of text and as a drawing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.errors import RunError
from pipeline.rasters.files import format_duration

Kind = Literal["raster", "directions", "record", "polygons", "outlets", "unknown"]
USUAL_CODES = {-float("9" * n) for n in range(1, 9)} | {-1.0, -32768.0, -9999000.0, -8888000.0}
LEAST_MM = 1.0  # which some rain exceeds, in mm and a step
HUGE = 1e15  # beyond any measurement
ALONE = 10.0  # times by which a code exceeds the greatest measurement
TINY = 1e-6  # share of the greatest number that is rounding
OPEN = "OPEN"  # marks what no file tells; as a value, which no catalog takes, it is to be filled in
REPEATED = 3  # equal values that may be a code


@dataclass
class Description:
    """What a file holds.

    Attributes:
        path: of the file.
        kind: what it can be used as.
        facts: labels and texts, in the order of printing.
        draw: draws it into axes of matplotlib; None if there is nothing to draw.
        keys: keys of a catalog that describe it, as far as they are known.
        labels: times of its rasters, as the file gives them.
        reasons: why some of the keys have their values.
        sites: by column, field or other place, the site numbers that the file may hold.
    """

    path: Path
    kind: Kind
    facts: list[tuple[str, str]] = field(default_factory=list)
    draw: Callable[[Any], None] | None = None
    keys: dict[str, Any] = field(default_factory=dict)
    labels: list[datetime] = field(default_factory=list)
    reasons: dict[str, str] = field(default_factory=dict)
    sites: dict[str, list[str]] = field(default_factory=dict)

    def add(self, label: str, text: str) -> None:
        """Add a fact."""
        self.facts.append((label, text))

    def propose(self, key: str, value: Any, reason: str) -> None:
        """Set a key of a catalog, and why it has this value."""
        self.keys[key] = value
        self.reasons[key] = reason

    def refuse(self, error: Exception) -> None:
        """Add why the pipeline would not read the file as it is."""
        self.add("refused", " ".join(str(error).replace(f"{self.path}: ", "").split())[:400])

    def summary(self) -> dict[str, Any]:
        """Everything but the drawing, as plain values."""
        return {
            "path": str(self.path),
            "kind": self.kind,
            "facts": [{"label": label, "text": text} for label, text in self.facts],
            "keys": self.keys,
            "reasons": self.reasons,
            "labels": [time.isoformat() for time in self.labels],
            "sites": self.sites,
        }

    def text(self) -> str:
        """The facts, one a line, below the file's name."""
        width = max((len(label) for label, _ in self.facts), default=0)
        lines, last = [f"{self.path}: {self.kind}"], ""
        for label, text in self.facts:
            shown = "" if label == last else label
            lines.append(f"  {shown:<{width}}  {text}")
            last = label
        return "\n".join(lines)


def describe_times(times: Sequence[datetime] | pd.DatetimeIndex) -> str:
    """First and last time, their number and steps."""
    index = pd.DatetimeIndex(times)
    if index.size == 1:
        return f"{index[0]}, one time"
    steps = pd.Series(np.diff(index.asi8)).value_counts()
    seconds = 10 ** {"s": 0, "ms": 3, "us": 6, "ns": 9}[index.unit]
    common = ", ".join(
        f"{format_duration(timedelta(seconds=step / seconds))} ({count})"
        for step, count in steps.head(3).items()
    )
    more = f" and {steps.size - 3} other steps" if steps.size > 3 else ""
    order = "" if index.is_monotonic_increasing else ", not in order"
    twice = int(index.duplicated().sum())
    return (
        f"{index[0]} to {index[-1]}, {index.size} times, step {common}{more}{order}"
        f"{f', {twice} of them twice' if twice else ''}"
    )


def describe_values(values: NDArray[Any]) -> str:
    """Range, mean and share of missing values."""
    finite = values[np.isfinite(values)]
    if not finite.size:
        return "none, all missing"
    missing = 1 - finite.size / values.size
    return (
        f"{finite.min():.6g} to {finite.max():.6g}, mean {finite.mean(dtype=np.float64):.4g}, "
        f"{(finite == 0).mean():.1%} zero, {missing:.1%} missing"
    )


def suspected_codes(values: NDArray[Any]) -> dict[float, int]:
    """Values that look like codes for missing, and how often each occurs.

    They are repeated, and huge, or usual codes, or the only few negative values, or far above all
    others.
    """
    found, counts = np.unique(values[np.isfinite(values)], return_counts=True)
    negative = found < -TINY * max(np.abs(found).max(initial=0.0), 1.0)
    few = negative & (0 < negative.sum() <= 3) & (found.size > 6)
    usual = negative & np.isin(found, list(USUAL_CODES))
    # -1 and -9 are also degrees, among other negative values
    usual &= (found < -90) | few
    alone = np.zeros(found.size, bool)
    if found.size > 6 and found[-1] > ALONE * max(abs(found[-2]), 1.0):
        alone[-1] = set(f"{found[-1]:.0f}"[:4]) == {"9"} or found[-1] in (32767.0, 65535.0)
    codes = (counts >= REPEATED) & (few | usual | alone | (np.abs(found) > HUGE))
    return {float(v): int(n) for v, n in zip(found[codes], counts[codes], strict=True)}


def add_suspects(description: Description, values: NDArray[Any], key: str) -> list[float]:
    """Add values that look like codes for missing; `key` is the catalog's key that names them.

    Returns:
        These values.
    """
    found = list(suspected_codes(values).items())[:4]
    for value, count in found:
        share = f"{count} times, {count / values.size:.1%}"
        description.add("looks missing", f"{value:g} occurs {share}: {key}: [{value:g}], if so")
    return [value for value, _ in found]


def doubt_units(description: Description, values: NDArray[Any]) -> None:
    """Note what speaks against mm as the unit of numbers of which none is stated."""
    known = values[np.isfinite(values) & (np.abs(values) < HUGE)]
    greatest = float(known.max(initial=0.0))
    if greatest > 0 and (known == np.rint(known)).all():
        description.keys["doubt"] = "whole numbers: mm, or tenths (units: mm, scale: 0.1)?"
    elif 0 < greatest < LEAST_MM:
        description.keys["doubt"] = f"none above {greatest:.3g}: m, inch, kg m-2 s-1?"


def draw_picture(description: Description, path: Path) -> None:
    """Draw a description into a PNG file.

    Raises:
        RunError: there is nothing to draw, or the file cannot be written.
    """
    if description.draw is None:
        raise RunError(f"{description.path}: nothing to draw: expected values or outlines")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.set_title(description.path.name, fontsize=9)
    description.draw(axes)
    try:
        figure.savefig(path, dpi=110, format="png")
    except OSError as error:
        raise RunError(f"{path}: not written ({error}): expected permission to write") from error


def draw_map(values: NDArray[Any], extent: Sequence[float] | None, label: str) -> Any:
    """A function that draws rows and columns as a map; extent is left, right, bottom, top."""

    def draw(axes: Any) -> None:
        image = axes.imshow(values, extent=extent, cmap="viridis", interpolation="nearest")
        axes.figure.colorbar(image, ax=axes, label=label)

    return draw
