# One image for all roles of docker-compose.yml: scheduler, worker, pipeline, training.
#
#   docker build -t dom-st .                          CPU workers
#   docker build -t dom-st --build-arg EXTRAS=cuda .  GPU workers too (dask-cuda)
#
# The torch build depends on pip's index: set the build arguments PIP_INDEX_URL and
# PIP_EXTRA_INDEX_URL to choose another.
FROM python:3.11-slim

ARG EXTRAS=""
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL

# The wheels of rasterio and pyogrio need the system's expat.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libexpat1 \
    && rm -rf /var/lib/apt/lists/*

ENV PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PYTHONUNBUFFERED=1

# Dependencies first: this layer is rebuilt only if one of these two files changes.
WORKDIR /opt/dom-st
COPY pyproject.toml constraints.txt ./
RUN mkdir pipeline model \
    && touch pipeline/__init__.py model/__init__.py \
    && pip install -c constraints.txt ".${EXTRAS:+[$EXTRAS]}"

# The programs replace the empty packages of the previous layer.
COPY LICENSE ./
COPY catalogs catalogs
COPY pipeline pipeline
COPY model model
RUN pip install --no-deps --force-reinstall .

# A named volume takes the owner of the folder on which it is first mounted.
RUN useradd --create-home --uid 1000 domst \
    && mkdir /data /raw /tls \
    && chown domst:domst /data /raw /tls
USER domst
WORKDIR /data

CMD ["python", "-m", "pipeline", "--help"]
