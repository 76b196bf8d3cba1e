"""A trained head in memory: simulate a record, look at what it learned."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import xarray as xr

from model.inputs.pack import Pack
from model.inputs.watershed import HeadData
from model.inputs.watershed import load_head as load_watershed
from model.network.domst import DomST
from model.output.run_directory import Run
from model.training import checkpoint
from pipeline.errors import InputError
from pipeline.storage import parse_location
from pipeline.units import discharge_of


@dataclass(frozen=True)
class TrainedHead:
    """The trained network of one watershed, with the record that it simulates.

    Attributes:
        data: the watershed's record and static fields, as arrays.
        networks: PyTorch modules in evaluation mode, one per seed of the run.
        pack: the record as tensors.
    """

    data: HeadData
    networks: tuple[DomST, ...]
    pack: Pack

    @torch.no_grad()
    def simulate(self) -> xr.Dataset:
        """Simulate the whole record; of several networks, the mean discharge.

        Returns:
            simulated, observed (time) discharge [m3 s-1], rain (time) basin mean [mm per step]; and
            `period` (time): "train", "validation", "test" or "".
        """
        inputs, data = self.pack.inputs(), self.data
        every = torch.stack([network(*inputs)[0, self.pack.spinup :] for network in self.networks])
        runoff = every.mean(0).cpu().numpy()
        simulated = discharge_of(runoff, data.area, data.step_seconds)
        period = np.full(simulated.size, "", dtype="<U10")
        period[data.split.train] = "train"
        period[data.split.validation] = "validation"
        period[data.split.test] = "test"
        discharge = {"units": "m3 s-1", "standard_name": "water_volume_transport_in_river_channel"}
        return xr.Dataset(
            {
                "simulated": ("time", simulated, discharge),
                "observed": ("time", data.discharge, discharge),
                "rain": ("time", data.rain, {"units": "mm", "long_name": "basin-mean rain"}),
            },
            {"time": data.times, "period": ("time", period)},
            {"site_no": data.site_no, "name": data.name},
        )


def load_head(
    run: str | os.PathLike[str] | Run,
    site_no: str,
    *,
    store: str | os.PathLike[str] | None = None,
    device: str = "cpu",
) -> TrainedHead:
    """Load a trained head of a run.

    Args:
        run: a run directory.
        site_no: of the watershed.
        store: the record to simulate; the one that the run trained on if left out.
        device: of PyTorch.

    Raises:
        InputError: no such run or head, or a record with other training steps.

    >>> head = load_head(run, site_no)
    >>> series = head.simulate()
    >>> series["simulated"].dims
    ('time',)
    """
    trained = run if isinstance(run, Run) else Run(Path(run))
    about = trained.recorded()
    paths = [checkpoint.head_path(one, site_no) for one in trained.networks(about.settings)]
    for path in paths:
        if not path.exists():
            raise InputError(f"{path}: not found: expected the head of watershed {site_no}")
    where = str(parse_location(store)) if store is not None else about.store
    data = load_watershed(where, site_no, about.settings)
    loaded = [checkpoint.load_head(path, data, torch.device(device)) for path in paths]
    return TrainedHead(data, tuple(network for network, _ in loaded), loaded[0][1])
