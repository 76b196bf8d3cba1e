"""What reading heads of a store costs: how long, how many files, how many bytes.

Runs in a process of its own, so that nothing of an earlier reading is kept: all imports are done
before the clock starts, and the files are in the system's cache. Reads Linux's /proc.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from pipeline.store.read import list_sites, open_watershed

SOME = 23  # heads, as many as the sample has


@dataclass(frozen=True)
class Access:
    """Cost of reading some heads.

    Attributes:
        seconds: of the clock.
        opened: number of times that a file of the store was opened; 0 for a store at a URL.
        read_bytes: from files.
    """

    seconds: float
    opened: int
    read_bytes: int


def open_one(store: str, site: str) -> None:
    """Open one head; its arrays stay in the store."""
    open_watershed(store, site)


def load_one(store: str, site: str) -> None:
    """Open one head and load its arrays."""
    open_watershed(store, site).load()


def open_all(store: str, site: str) -> None:
    """Open each head, as a training does to compare their settings."""
    for each in list_sites(store):
        open_watershed(store, each)


def load_some(store: str, site: str) -> None:
    """Open and load `SOME` heads from all over the list."""
    sites = list_sites(store)
    for index in np.linspace(0, len(sites) - 1, min(SOME, len(sites))).round().astype(int):
        open_watershed(store, sites[index]).load()


WAYS: dict[str, Callable[[str, str], None]] = {
    "open one": open_one,
    "load one": load_one,
    "open all": open_all,
    f"load {SOME}": load_some,
}


def measure_access(
    store: Path | str, site: str, way: str, environment: Mapping[str, str] | None = None
) -> Access:
    """Read heads of a store in one of the `WAYS`, in a new process.

    Args:
        store: path or URL.
        site: of the one head that is read.
        way: key of `WAYS`.
        environment: of the process, by default that of this one.
    """
    command = [sys.executable, "-m", "benchmarks.head_access", str(store), site, way]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}: exit {done.returncode}")
    return Access(**json.loads(done.stdout))


def read_bytes() -> int:
    """Bytes that this process has read from files."""
    lines = Path("/proc/self/io").read_text().splitlines()
    return int(dict(line.split(": ") for line in lines)["rchar"])


def main(store: str, site: str, way: str) -> None:
    """Read heads, and print what it cost as JSON."""
    xr.backends.list_engines()  # imports them
    opened = 0

    def count(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal opened
        opened += event == "open" and str(arguments[0]).startswith(store)

    sys.addaudithook(count)
    before, started = read_bytes(), time.perf_counter()
    WAYS[way](store, site)
    seconds = time.perf_counter() - started
    print(json.dumps(asdict(Access(seconds, opened, read_bytes() - before))))


if __name__ == "__main__":
    main(*sys.argv[1:])
