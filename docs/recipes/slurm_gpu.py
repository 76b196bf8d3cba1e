"""Train on GPU nodes of a SLURM cluster, one job and one dask-cuda worker a GPU.

    pip install -c constraints.txt 'dom-st[cuda]' dask-jobqueue
    domst certificates tls
    python slurm_gpu.py

This program holds the scheduler and submits jobs, so it runs where `sbatch` works: on a login node,
or in a small job of its own. This folder and the Python environment are on the shared file system.
The store is there already: write it on CPUs, see slurm_cpu.py.
"""

import subprocess
from pathlib import Path

from dask_jobqueue import SLURMCluster
from distributed import Client

from pipeline.run.tls import read_certificates

STORE, RUN = "build/my.zarr", "build/runs/my"
TLS = Path("tls")
INTERFACE = "ib0"  # the network between the nodes; nothing listens on others
DASHBOARD = "127.0.0.1:8787"  # of this node: ssh -L 8787:127.0.0.1:8787 login
GPUS = 4

COMMANDS = (["domst", "train", STORE, "--run", RUN],)


def start() -> SLURMCluster:
    """Start the scheduler; jobs are submitted by `scale`."""
    return SLURMCluster(
        queue="gpu",
        account="hydrology",
        walltime="08:00:00",
        cores=1,  # threads of the worker
        processes=1,
        job_cpu=4,
        memory="32GB",
        job_extra_directives=["--gres=gpu:1"],
        worker_command="dask_cuda.cli",
        interface=INTERFACE,
        local_directory="${TMPDIR:-/tmp}",
        scheduler_options={"dashboard_address": DASHBOARD},
        worker_extra_args=["--resources", "GPU=1", "--dashboard-address", "127.0.0.1:0"],
        security=read_certificates(TLS),
        job_script_prologue=[  # let training workers keep freed memory
            "export MALLOC_TRIM_THRESHOLD_=1073741824",
            "export MALLOC_MMAP_THRESHOLD_=33554432",
        ],
    )


def main() -> None:
    """Run the command on the cluster; workers may wait in SLURM's queue for hours."""
    with start() as cluster, Client(cluster) as client:
        cluster.scale(jobs=GPUS)
        client.write_scheduler_file("scheduler.json")
        for command in COMMANDS:
            on_cluster = ["--scheduler-file", "scheduler.json", "--tls", str(TLS), "--wait", "12h"]
            subprocess.run([*command, *on_cluster], check=True)


if __name__ == "__main__":
    main()
