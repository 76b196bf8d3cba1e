"""Fixtures that every test may use."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from filelock import FileLock
from hypothesis import settings

# the time that an example takes is no criterion, least of all on a shared machine
settings.register_profile("dom-st", deadline=None)
settings.load_profile("dom-st")

# One thread for BLAS and OpenMP, as in a Dask worker: where processes share the cores, more threads
# wait for each other busily. What pytest starts, xdist workers above all, takes it from here.
os.environ.setdefault("OMP_NUM_THREADS", "1")

CHECKOUT = Path(__file__).resolve().parent.parent
BuildOnce = Callable[[str, Callable[[Path], object]], Path]


def pytest_xdist_auto_num_workers() -> int:
    """Return what `-n auto` means: the cores of this process, not those of the whole machine."""
    from pipeline.run.cluster import available_cores

    return available_cores()


@pytest.fixture(autouse=True)
def remove_stale_dask_scheduler() -> Iterator[None]:
    """Remove the default scheduler that a closed client left in Dask's configuration.

    A client that closes while another one is still closing stays Dask's default, and every later
    computation without a client would fail.
    """
    yield
    if "distributed" not in sys.modules:
        return
    import dask
    from distributed import Client

    try:
        Client.current()
    except ValueError:
        dask.config.config.pop("scheduler", None)


@pytest.fixture(scope="session", autouse=True)
def take_any_dashboard_port() -> Iterator[None]:
    """Let clusters of this process take any free port: xdist workers would race for the usual one.

    Where a port is taken after it was found free, Dask warns and leaves a socket unclosed.
    """
    from pipeline.run import cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cluster, "DASHBOARD_PORT", 0)
        yield


@pytest.fixture(scope="session")
def domst_data() -> Path:
    """Folder of real data: $DOMST_DATA, or ../shared/data beside the checkout.

    If the folder is missing, the test fails where CI is set and is skipped elsewhere.
    """
    folder = Path(os.environ.get("DOMST_DATA", CHECKOUT.parent / "shared" / "data"))
    if not (folder / "daddys_creek").is_dir():
        reason = f"real data not found at {folder}: set DOMST_DATA to the folder"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    os.environ["DOMST_DATA"] = str(folder)
    return folder


@pytest.fixture(scope="session")
def build_once(tmp_path_factory: pytest.TempPathFactory) -> BuildOnce:
    """Function that builds a named folder once a run, whichever xdist worker asks for it first.

    Tests only read what it returns, or copy it before they change it.
    """
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:  # each worker has a folder below that of the run
        root = root.parent

    def build_folder(name: str, build: Callable[[Path], object]) -> Path:
        folder, complete = root / "shared" / name, root / "shared" / f"{name}.complete"
        folder.parent.mkdir(exist_ok=True)
        with FileLock(folder.with_name(f"{name}.lock")):
            if not complete.exists():
                shutil.rmtree(folder, ignore_errors=True)  # of a worker that failed
                folder.mkdir()
                build(folder)
                complete.touch()
        return folder

    return build_folder


@pytest.fixture(scope="session")
def tiny_sample(build_once: BuildOnce) -> Path:
    """Folder with the raw files of the shrunken sample world: 4 watersheds, 3 water years."""
    from pipeline.sample.make import make_sample

    return build_once("tiny_sample", lambda folder: make_sample(folder, tiny=True))


@pytest.fixture(scope="session")
def tiny_store(build_once: BuildOnce, tiny_sample: Path) -> Path:
    """Store of the shrunken sample world."""
    from pipeline.catalog.models import load_catalog
    from pipeline.run.cluster import make_client
    from pipeline.run.execute import run

    def build(folder: Path) -> None:
        with make_client() as client:
            run(load_catalog(tiny_sample / "catalog.yaml"), folder / "store.zarr", client)

    return build_once("tiny_store", build) / "store.zarr"


@pytest.fixture(scope="session")
def tiny_run(build_once: BuildOnce, tiny_store: Path) -> Path:
    """Run directory of a short training of every watershed of `tiny_store` by the command line.

    What the command printed lies beside it, in stdout.txt.
    """

    from tests.end_to_end.training import QUICK, train_in_a_process

    def build(folder: Path) -> None:
        done = train_in_a_process(tiny_store, "--run", folder / "run", *QUICK)
        assert done.returncode == 0, done.stderr
        (folder / "stdout.txt").write_text(done.stdout)

    return build_once("tiny_run", build) / "run"
