"""The fence of a store: only the run that holds its lease changes it.

A run that lost its lease may still have threads or workers that write, because Dask cannot stop
them. Each write therefore looks at `lease.json` and fails where it names another run or is gone. In
a folder it looks after the data are on the disk, just before the file is renamed to its name. At a
URL, where an object appears when its request ends, it looks before and after the request: an object
of a lost run may appear, but the run does not go on to mark it as done.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.storage import Location, reporting_access, write_objects
from pipeline.store.lease import lease_lost, read_lease, replace_file


def require_lease(location: Location, run: str) -> None:
    """Require that a run holds a store.

    Raises:
        RunError: it does not.
        OSError: and other errors of clients; see `reporting_access`.
    """
    holder = read_lease(location)
    if holder is None or holder.run != run:
        raise lease_lost(location, holder)


def write_fenced(location: Location, run: str, files: Mapping[str, bytes]) -> None:
    """Write files of a store, each of them whole or not at all.

    Args:
        location: of the store.
        run: id of the run, of `Lease`.
        files: content by path below the store.

    Raises:
        RunError: the run does not hold the lease; or as `reporting_access`.
        OSError, InputError: as file systems and `reporting_access`.
    """
    if isinstance(location, Path):
        for key, content in files.items():
            _replace_file(location, run, key, content)
        return
    with reporting_access(location):
        require_lease(location, run)
        write_objects(location, files)
        require_lease(location, run)


def _replace_file(store: Path, run: str, key: str, content: Any) -> None:
    replace_file(store / key, content, run, lambda: require_lease(store, run))


def remove_partial_files(location: Location, run: str) -> None:
    """Remove what other runs wrote and did not rename; there is nothing of the kind at a URL.

    Args:
        location: of the store.
        run: id of the run that holds it, whose own files stay.
    """
    if not isinstance(location, Path):
        return
    for folder, _, names in os.walk(location):
        for name in names:
            if name.endswith(".partial") and f".{run}-" not in name:
                os.unlink(os.path.join(folder, name))
