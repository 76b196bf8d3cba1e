"""Run the pipeline and the training on machines that are reached by SSH.

    pip install asyncssh
    domst certificates tls
    DASK_CONFIG=tls python ssh_cluster.py

The machines share a file system: this folder, the raw data and the Python environment have the same
paths on all of them. SSH needs keys that ask for no password. Dask hands its configuration, with
the paths of the certificates, to the processes that it starts there.
"""

import subprocess

import dask
from distributed import Client, SpecCluster, SSHCluster

from pipeline.run.cluster import KEEP_FREED_MEMORY

CATALOG, STORE, RUN = "mybasins.yaml", "build/my.zarr", "build/runs/my"
HOSTS = ["node1", "node1", "node2", "node3"]  # of the scheduler, then of workers
INTERFACE = "eth0"  # the network between the machines; nothing listens on others
DASHBOARD = "127.0.0.1:8787"  # of the first host: ssh -L 8787:127.0.0.1:8787 node1
WORKERS = 8  # processes of one thread each on every host
SSH = {"known_hosts": "~/.ssh/known_hosts"}  # options of asyncssh.connect, such as username

COMMANDS = (
    ["domst", "run", CATALOG, "--store", STORE],
    ["domst", "train", STORE, "--run", RUN],
)


def start() -> SpecCluster:
    """Start the scheduler and the workers."""
    dask.config.set(KEEP_FREED_MEMORY)
    return SSHCluster(
        HOSTS,
        connect_options=SSH,
        scheduler_options={
            "interface": INTERFACE,
            "dashboard_address": DASHBOARD,
        },
        worker_options={
            "interface": INTERFACE,
            "n_workers": WORKERS,
            "nthreads": 1,
            "dashboard_address": "127.0.0.1:0",
        },
    )


def main() -> None:
    """Run the commands on the cluster."""
    with start() as cluster, Client(cluster) as client:
        client.write_scheduler_file("scheduler.json")
        for command in COMMANDS:
            subprocess.run([*command, "--scheduler-file", "scheduler.json"], check=True)


if __name__ == "__main__":
    main()
