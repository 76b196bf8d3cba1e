"""The lease of a store, or of the run directory of a training: one run at a time writes it.

The file `lease.json` at the root of a store names the run that writes it, which renews its lease
until it ends. The lease of a run that has died, because its process is gone or because it was not
renewed in time, passes to the next run. Runs that take a lease at the same moment may both think
that they hold it. That does no harm: each write looks at the lease (`pipeline.store.fence`), and
one of the runs fails. The same happens where the clocks of two hosts differ by `LEASE_SECONDS`.
"""

from __future__ import annotations

import getpass
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from threading import Event, Thread
from typing import Any
from uuid import uuid4

import psutil
from pydantic import AwareDatetime, TypeAdapter

from pipeline.errors import InputError, RunError, client_errors
from pipeline.log import get_logger
from pipeline.storage import Location, file_system, reporting_access

LOG = get_logger(__name__)
LEASE = "lease.json"  # at the root of a store that a run writes
LEASE_SECONDS = 60.0  # without a renewal, after which a run counts as dead
START_TOLERANCE = 2.0  # s between two readings of when a process started, if the clock is set


@dataclass(frozen=True)
class Holder:
    """The run that holds a store, as `lease.json` describes it.

    Attributes:
        run: random id.
        owner: user.
        host: name of the client's host.
        pid_namespace: in which `pid` counts, because containers may share the name of their host;
            empty where the system has none.
        pid: of the client's process.
        process_started: seconds since 1970, against a later process of the same pid.
        renewed: time of the last renewal, in UTC.
        seconds: without a renewal, after which the run counts as dead.
    """

    run: str
    owner: str
    host: str
    pid_namespace: str
    pid: int
    process_started: float
    renewed: AwareDatetime
    seconds: float

    def __str__(self) -> str:
        return f"a run of {self.owner} on {self.host}, process {self.pid}"

    @property
    def age(self) -> float:
        """Seconds since the last renewal."""
        return (datetime.now(UTC) - self.renewed).total_seconds()

    @property
    def is_dead(self) -> bool:
        """Whether the process is seen to be gone, or the lease was not renewed in time."""
        if self.age > self.seconds:
            return True
        if (self.host, self.pid_namespace) != (socket.gethostname(), _pid_namespace()):
            return False
        try:
            process = psutil.Process(self.pid)
            other = abs(process.create_time() - self.process_started) > START_TOLERANCE
            ended = self.pid == os.getpid() and self.run in _ENDED
            return other or ended or process.status() == psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return True


_ENDED: set[str] = set()  # runs of this process that could not remove their lease

LEASES = TypeAdapter(Holder)


def decode_lease(content: bytes, store: Location) -> Holder:
    """Decode the content of the `lease.json` of a store.

    Raises:
        RunError: it is no lease.
    """
    try:
        return LEASES.validate_json(content)
    except ValueError as error:
        raise RunError(
            f"{store}: its {LEASE} is damaged: expected it to name a run; remove the file if no "
            "run writes the store"
        ) from error


def read_lease(store: Location) -> Holder | None:
    """Read who holds a store; None if nobody does.

    Raises:
        RunError: `lease.json` is damaged.
        OSError: and other errors of clients; see `reporting_access`.
    """
    try:
        if isinstance(store, Path):
            content = (store / LEASE).read_bytes()
        else:
            system, root = file_system(store)
            content = system.cat_file(f"{root}/{LEASE}", start=0)  # as a range: s3fs asks once
    except FileNotFoundError:
        return None
    return decode_lease(content, store)


def lease_lost(store: Location, holder: Holder | None) -> RunError:
    """The error of a run that holds a store no more, but `holder` or nobody does."""
    what = f"was taken over by {holder}" if holder else "has ended"
    return RunError(
        f"{store}: the lease of this run {what}: expected to write alone; finished work "
        "is kept, and the same command continues from there"
    )


def replace_file(
    path: Path,
    content: Any,
    run: str,
    check: Callable[[], None] = lambda: None,
    *,
    sync: bool = False,
) -> None:
    """Write a file beside its place, under a name that holds the run's id, and rename it.

    Args:
        path: of the file; its folder is made if it is missing.
        content: bytes, or another buffer.
        run: id of the run.
        check: called before the file is renamed or a folder is made; if it fails, nothing remains.
        sync: wait until the disk has the content before the file is renamed, and the new name
            before returning, so that a lost disk cache leaves the old file or the new one.
    """
    partial = path.with_name(f"{path.name}.{run}-{uuid4().hex[:8]}.partial")
    try:
        try:
            file = partial.open("wb")
        except FileNotFoundError:
            check()
            path.parent.mkdir(parents=True, exist_ok=True)
            file = partial.open("wb")
        with file:
            file.write(content)
            if sync:
                file.flush()
                os.fsync(file.fileno())
        check()
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    if sync:
        _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Wait until the disk has the names in a folder, where the system can do that."""
    with suppress(OSError):  # not every system opens folders
        opened = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)


class Lease:
    """The lease of this run, renewed by a thread while it is held.

    Attributes:
        store: that is held.
        run: id of the run, for the store's fence.
    """

    def __init__(self, store: Location, holder: Holder) -> None:
        self.store, self.run = store, holder.run
        self._holder = holder
        self._lost: RunError | None = None
        self._ended = Event()
        self._thread = Thread(target=self._renew_until_ended, name="renew lease", daemon=True)
        self._thread.start()

    def require(self) -> None:
        """Require that no other run has taken the lease over, as far as the last renewal found.

        Raises:
            RunError: the lease is lost.
        """
        if self._lost:
            raise self._lost

    def _renew_until_ended(self) -> None:
        pause = self._holder.seconds / 4
        while self._lost is None and not self._ended.wait(pause):
            try:
                self._renew()
            except client_errors(RunError) as error:
                LOG.warning("%s: lease not renewed (%s): again in %g s", self.store, error, pause)

    def _renew(self) -> None:
        found = read_lease(self.store)
        if found is None or found.run != self.run:
            self._lost = lease_lost(self.store, found)
        else:
            _write_lease(self.store, replace(self._holder, renewed=datetime.now(UTC)))

    def release(self) -> None:
        """Remove `lease.json`, if it is still this run's; what goes wrong is logged."""
        self._ended.set()
        self._thread.join()
        try:
            found = read_lease(self.store)
            if found is not None and found.run == self.run:
                _remove_lease(self.store)
        except client_errors(RunError) as error:
            _ENDED.add(self.run)
            LOG.warning(
                "%s: lease not removed (%s): it ends in %g s", self.store, error,
                self._holder.seconds,
            )  # fmt: skip


@contextmanager
def hold_lease(store: Location, take_over: bool = False) -> Iterator[Lease]:
    """Hold a store while a run writes it; a folder that does not exist is made for the lease.

    Args:
        store: an existing store, or where one is to be.
        take_over: whether to take the lease from a run that seems to be alive.

    Yields:
        The lease. At the end it is removed, and with it the folders that were made and are empty.

    Raises:
        InputError: something else than a folder is at `store`; or as `reporting_access`.
        RunError: another run holds the store, nothing can be written there, or as
            `reporting_access`.
    """
    made = _missing_folders(store)
    try:
        with _reporting(store):
            holder = _acquire(store, take_over)
        lease = Lease(store, holder)
        try:
            yield lease
        finally:
            lease.release()
    finally:
        for folder in made:
            with suppress(OSError):  # not empty, or not made
                folder.rmdir()


@contextmanager
def _reporting(store: Location) -> Iterator[None]:
    try:
        with reporting_access(store):
            yield
    except (FileExistsError, NotADirectoryError) as error:
        raise InputError(f"{store}: holds no store: expected a folder, or nothing") from error
    except OSError as error:
        raise RunError(
            f"{store}: not written ({error.strerror or error}): expected room on the disk and "
            "permission to write"
        ) from error


def _missing_folders(store: Location) -> list[Path]:
    """Folders that have to be made for a store, the innermost first."""
    if not isinstance(store, Path):
        return []
    return [folder for folder in (store, *store.parents) if not os.path.lexists(folder)]


def _acquire(store: Location, take_over: bool) -> Holder:
    mine = _this_run()
    if _create_lease(store, mine):
        return mine
    found = read_lease(store)  # None: released meanwhile
    if found is not None and found.run != mine.run:  # its own: a request was sent again
        if found.is_dead:
            LOG.warning("%s: was held by %s, which has died", store, found)
        elif take_over:
            LOG.warning("%s: taken over from %s", store, found)
        else:
            raise RunError(
                f"{store}: held by {found}, renewed {found.age:.0f} s ago: expected that run to "
                "end, or --take-over if it has died"
            )
    _write_lease(store, mine)
    found = read_lease(store)
    if found is None or found.run != mine.run:
        raise lease_lost(store, found)
    return mine


def _this_run() -> Holder:
    process = psutil.Process()
    return Holder(
        run=uuid4().hex,
        owner=_user(),
        host=socket.gethostname(),
        pid_namespace=_pid_namespace(),
        pid=process.pid,
        process_started=process.create_time(),
        renewed=datetime.now(UTC),
        seconds=LEASE_SECONDS,
    )


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):  # a container's user may have no name
        return "an unknown user"


def _pid_namespace() -> str:
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:  # not on Linux
        return ""


def _encode(holder: Holder) -> bytes:
    return LEASES.dump_json(holder, indent=2)


def _create_lease(store: Location, holder: Holder) -> bool:
    """Write `lease.json` if there is none; return whether it was written."""
    try:
        if isinstance(store, Path):
            store.mkdir(parents=True, exist_ok=True)
            file = os.open(store / LEASE, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
            try:
                with os.fdopen(file, "wb") as opened:
                    opened.write(_encode(holder))
            except OSError:
                _remove_lease(store)
                raise
        else:
            system, root = file_system(store)
            system.pipe_file(f"{root}/{LEASE}", _encode(holder), mode="create")
    except FileExistsError:
        if isinstance(store, Path) and not store.is_dir():
            raise
        return False
    return True


def _write_lease(store: Location, holder: Holder) -> None:
    if isinstance(store, Path):
        replace_file(store / LEASE, _encode(holder), holder.run)
    else:
        system, root = file_system(store)
        system.pipe_file(f"{root}/{LEASE}", _encode(holder))


def _remove_lease(store: Location) -> None:
    if isinstance(store, Path):
        (store / LEASE).unlink()
    else:
        system, root = file_system(store)
        system.rm_file(f"{root}/{LEASE}")
