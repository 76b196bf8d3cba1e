"""Run several commands on one cluster of this machine, with one dashboard for all of them.

domst certificates tls
python local_cluster.py
"""

import subprocess
from pathlib import Path

import dask
from distributed import Client, LocalCluster

from pipeline.run.cluster import KEEP_FREED_MEMORY
from pipeline.run.tls import read_certificates

CATALOG, STORE, RUN = "mybasins.yaml", "build/my.zarr", "build/runs/my"
TLS = Path("tls")
DASHBOARD = "127.0.0.1:8787"
WORKERS = 4  # processes of one thread each

COMMANDS = (
    ["domst", "run", CATALOG, "--store", STORE],
    ["domst", "train", STORE, "--run", RUN],
)


def start() -> LocalCluster:
    """Start the scheduler and the workers, which listen on this machine alone."""
    with dask.config.set(KEEP_FREED_MEMORY):
        return LocalCluster(
            n_workers=WORKERS,
            threads_per_worker=1,
            host="127.0.0.1",
            dashboard_address=DASHBOARD,
            security=read_certificates(TLS),
        )


def main() -> None:
    """Run the commands on the cluster."""
    with start() as cluster, Client(cluster) as client:
        client.write_scheduler_file("scheduler.json")
        for command in COMMANDS:
            on_cluster = ["--scheduler-file", "scheduler.json", "--tls", str(TLS)]
            subprocess.run([*command, *on_cluster], check=True)


if __name__ == "__main__":
    main()
