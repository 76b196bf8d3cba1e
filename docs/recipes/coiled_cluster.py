"""Run the pipeline on machines that Coiled starts in an account at a cloud.

    pip install coiled 'dom-st[s3]'
    python coiled_cluster.py

Raw data and store are at URLs. Coiled installs the packages of this machine there, and gives its
cluster and client a certificate. For the training, whose run directory client and workers share,
start one large machine and run `domst train` there.
"""

import coiled

import pipeline

CATALOG, STORE = "mybasins.yaml", "s3://my-bucket/my.zarr"
WORKERS = 20


def start() -> coiled.Cluster:
    """Start the scheduler and the workers."""
    return coiled.Cluster(
        name="domst",
        n_workers=WORKERS,
        worker_cpu=2,
        worker_memory="8 GiB",
        worker_options={"nthreads": 2},  # the pipeline's tasks release the GIL
        allow_ingress_from="me",  # nobody else reaches scheduler and dashboard
        idle_timeout="20 minutes",
    )


def main() -> None:
    """Write the store."""
    with start() as cluster, cluster.get_client() as client:
        pipeline.run(CATALOG, STORE, client, wait=600)


if __name__ == "__main__":
    main()
