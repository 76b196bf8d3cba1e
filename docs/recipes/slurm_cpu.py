"""Run the pipeline and the training on CPU nodes of a SLURM cluster.

    pip install dask-jobqueue
    domst certificates tls
    python slurm_cpu.py

This program holds the scheduler and submits jobs, so it runs where `sbatch` works: on a login node,
or in a small job of its own. This folder, the raw data and the Python environment are on the shared
file system.
"""

import subprocess
from pathlib import Path

from dask_jobqueue import SLURMCluster
from distributed import Client

from pipeline.run.tls import read_certificates

CATALOG, STORE, RUN = "mybasins.yaml", "build/my.zarr", "build/runs/my"
TLS = Path("tls")
INTERFACE = "ib0"  # the network between the nodes; nothing listens on others
DASHBOARD = "127.0.0.1:8787"  # of this node: ssh -L 8787:127.0.0.1:8787 login
JOBS = 4
CORES = 16  # of a job, each a worker process of one thread

COMMANDS = (
    ["domst", "run", CATALOG, "--store", STORE],
    ["domst", "train", STORE, "--run", RUN],
)


def start() -> SLURMCluster:
    """Start the scheduler; jobs are submitted by `scale`."""
    return SLURMCluster(
        queue="compute",
        account="hydrology",
        walltime="08:00:00",
        cores=CORES,
        processes=CORES,
        memory="64GB",
        interface=INTERFACE,
        local_directory="${TMPDIR:-/tmp}",
        scheduler_options={"dashboard_address": DASHBOARD},
        worker_extra_args=["--dashboard-address", "127.0.0.1:0"],
        security=read_certificates(TLS),
        job_script_prologue=[  # let training workers keep freed memory
            "export MALLOC_TRIM_THRESHOLD_=1073741824",
            "export MALLOC_MMAP_THRESHOLD_=33554432",
        ],
    )


def main() -> None:
    """Run the commands on the cluster; workers may wait in SLURM's queue for hours."""
    with start() as cluster, Client(cluster) as client:
        cluster.scale(jobs=JOBS)
        client.write_scheduler_file("scheduler.json")
        for command in COMMANDS:
            on_cluster = ["--scheduler-file", "scheduler.json", "--tls", str(TLS), "--wait", "12h"]
            subprocess.run([*command, *on_cluster], check=True)


if __name__ == "__main__":
    main()
