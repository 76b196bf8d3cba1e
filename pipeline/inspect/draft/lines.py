"""Lines of a drafted catalog: a key, its value, and the reason as a comment."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import yaml


@dataclass(frozen=True)
class Line:
    """A line of a catalog: a key below others, its value (None for a mapping) and a comment."""

    keys: tuple[str, ...]
    value: Any
    reason: str = ""


def as_yaml(lines: Sequence[Line]) -> Iterator[str]:
    """Lines of YAML with comments; keys of equal parents stand together."""
    above: tuple[str, ...] = ()
    for line in lines:
        *parents, key = line.keys
        for depth, parent in enumerate(parents):
            if above[: depth + 1] != tuple(parents[: depth + 1]):
                yield f"{'  ' * depth}{parent}:"
        above = tuple(parents)
        comment = f" # {line.reason}" if line.reason else ""
        yield f"{'  ' * len(parents)}{key}: {_scalar(line.value)}{comment}"


def _scalar(value: Any) -> str:
    """A value as YAML in one line."""
    text = yaml.safe_dump(
        value, default_flow_style=True, width=10_000, allow_unicode=True, sort_keys=False
    )
    return text.removesuffix("...\n").strip()
