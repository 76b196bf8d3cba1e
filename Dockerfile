# One image for every role: scheduler, worker, pipeline, train (see docker-compose.yml).
#
#   docker build -t dom-st .                        workers on CPU
#   docker build -t dom-st --build-arg EXTRAS=cuda . workers on GPU too (dask-cuda)
#
# Which torch build is taken depends on pip's index alone: pip's own variables, PIP_INDEX_URL and
# PIP_EXTRA_INDEX_URL, pass through as build arguments.
FROM python:3.11-slim

ARG EXTRAS=""
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL

# The wheels of rasterio and pyogrio expect the system's expat.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libexpat1 \
    && rm -rf /var/lib/apt/lists/*

ENV PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PYTHONUNBUFFERED=1

# The dependencies, in a layer that only these two files invalidate.
WORKDIR /opt/dom-st
COPY pyproject.toml constraints.txt ./
RUN mkdir pipeline model \
    && touch pipeline/__init__.py model/__init__.py \
    && pip install -c constraints.txt ".${EXTRAS:+[$EXTRAS]}"

# The programs. They are installed over the empty packages of the layer before.
COPY LICENSE ./
COPY catalogs catalogs
COPY pipeline pipeline
COPY model model
RUN pip install --no-deps --force-reinstall .

# A named volume takes the owner of the folder it is first mounted on.
RUN useradd --create-home --uid 1000 domst \
    && mkdir /data /raw \
    && chown domst:domst /data /raw
USER domst
WORKDIR /data

CMD ["python", "-m", "pipeline", "--help"]
