"""The lines of metrics.jsonl, one per head and validation.

The worker that trains a head appends each line to a file of the head alone. So no line is lost when
the client dies and workers go on, and no two hosts append to one file. The client appends the lines
that reach it to metrics.jsonl, for those who watch, and puts that file together from the heads'
files whenever it begins or ends.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

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


def put_together(path: Path, parts: Iterable[Path]) -> None:
    """Write a file of its own lines and those of its parts, each head and update once."""
    lines = {}
    for one in (path, *sorted(parts)):
        for line in read_lines(one):
            lines[line["site_no"], line["update"]] = line
    if lines:
        write_text(path, "".join(as_json(line) + "\n" for line in lines.values()))
