"""Fixtures that every test may use."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# how long an example takes says nothing of whether it is right
settings.register_profile("dom-st", deadline=None)
settings.load_profile("dom-st")

CHECKOUT = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def no_scheduler_is_left() -> Iterator[None]:
    """A client that closes while another one is still closing leaves itself as Dask's default, and
    every later computation without a client would fail."""
    yield
    if "distributed" not in sys.modules:
        return
    import dask
    from distributed import Client

    try:
        Client.current()
    except ValueError:
        dask.config.config.pop("scheduler", None)


@pytest.fixture(scope="session")
def domst_data() -> Path:
    """Folder of real data: $DOMST_DATA, or ../shared/data beside the checkout.

    A missing folder fails the test where CI is set, and skips it, saying why, elsewhere.
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
def tiny_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store of the shrunken sample world: a few watersheds, three water years."""
    from pipeline.catalog.models import load_catalog
    from pipeline.run.cluster import make_client
    from pipeline.run.execute import run
    from pipeline.sample.make import make_sample

    folder = tmp_path_factory.mktemp("tiny")
    catalog = load_catalog(make_sample(folder / "world", tiny=True))
    with make_client() as client:
        run(catalog, folder / "store.zarr", client)
    return folder / "store.zarr"
