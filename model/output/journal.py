"""The lines of metrics.jsonl, one per head and validation.

The worker that trains a head appends each line to a file of the head alone. So no line is lost when
the client dies and workers go on, and no two hosts append to one file. The client appends the lines
that reach it to metrics.jsonl, for those who watch, and puts that file together from the heads'
files whenever it begins or ends.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.json_text import as_json
from pipeline.store.lease import replace_file


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file whole or not at all."""
    replace_file(path, content, "file", sync=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all."""
    write_bytes(path, text.encode())


def append_line(path: Path, line: dict[str, Any]) -> None:
    """Append a line to a file, which may end in the middle of one."""
    with path.open("ab+") as file:
        end = file.seek(0, os.SEEK_END)
        file.seek(max(end - 1, 0))
        torn = file.read(1) not in (b"", b"\n")
        file.write(b"\n" * torn + as_json(line).encode() + b"\n")


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Read the lines of a file, without torn ones; none if there is no file."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return []
    lines = []
    for text in content.splitlines():
        try:
            line = json.loads(text)
        except ValueError:
            continue
        if isinstance(line, dict) and {"site_no", "update"} <= line.keys():
            lines.append(line)
    return lines


class Validation(NamedTuple):
    """A line of a head: loss and validation NSE after an update, NaN where undefined."""

    update: int
    loss: float
    nse: float


def read_validations(path: Path) -> dict[str, list[Validation]]:
    """Read the validations of each head by site number, sorted by update; none without a file.

    The last line of an update counts; torn lines and other ones are left out.
    """
    found: dict[str, dict[int, Validation]] = {}
    for line in read_lines(path):
        if {"loss", "validation_nse"} <= line.keys():
            known = (math.nan if line[n] is None else line[n] for n in ("loss", "validation_nse"))
            by_update = found.setdefault(line["site_no"], {})
            by_update[line["update"]] = Validation(line["update"], *known)
    return {site: [by_update[u] for u in sorted(by_update)] for site, by_update in found.items()}


def put_together(path: Path, parts: Iterable[Path]) -> None:
    """Write a file of its own lines and those of its parts, each head and update once."""
    lines = {}
    for one in (path, *sorted(parts)):
        for line in read_lines(one):
            lines[line["site_no"], line["update"]] = line
    if lines:
        write_text(path, "".join(as_json(line) + "\n" for line in lines.values()))
