# One image for the main job, for workers and for the servers of compose.yaml; CPU by default.
#   docker build --tag scalenet .
#   docker run --rm --shm-size 4g --volume scalenet:/home/scalenet/project scalenet
# For GPUs, a CUDA base image, with Python of at least 3.11 or like Debian, which has it, and torch
# from PyPI:
#   docker build --build-arg BASE_IMAGE=nvidia/cuda:13.0.1-base-ubuntu24.04 --build-arg PIP_OPTIONS= .
ARG BASE_IMAGE=python:3.11-slim-bookworm

# --- the environment; nothing that only makes it goes on ---
FROM ${BASE_IMAGE} AS build
# The versions to install; another file suits another platform.
ARG CONSTRAINTS=constraints.txt
# Options for pip: by default the index of torch's CPU builds, since PyPI's own take 3 GB more.
ARG PIP_OPTIONS="--extra-index-url https://download.pytorch.org/whl/cpu"
RUN python3 -c "import ensurepip, venv" || (apt-get update \
 && apt-get install --yes --no-install-recommends python3 python3-venv ca-certificates)
RUN python3 -m venv /opt/scalenet
WORKDIR /build
# Dependencies first: this layer stays while only the code changes.
COPY pyproject.toml ${CONSTRAINTS} ./
RUN /opt/scalenet/bin/python -c 'import tomllib; \
p = tomllib.load(open("pyproject.toml", "rb"))["project"]; x = p["optional-dependencies"]; \
lists = [p["dependencies"], *(x[e] for e in ("parquet", "pipeline", "export", "servers", "dask"))]; \
print(*(d for l in lists for d in l if not d.startswith("scalenet-")), sep="\n")' > wanted.txt \
 && /opt/scalenet/bin/pip install --no-cache-dir --disable-pip-version-check ${PIP_OPTIONS} \
      --constraint "$(basename ${CONSTRAINTS})" --requirement wanted.txt
COPY . .
RUN /opt/scalenet/bin/pip install --no-cache-dir --disable-pip-version-check ${PIP_OPTIONS} \
      --no-deps .

# --- what runs ---
FROM ${BASE_IMAGE}
RUN (command -v git && command -v python3) || (apt-get update \
 && apt-get install --yes --no-install-recommends git python3 ca-certificates \
 && rm -rf /var/lib/apt/lists/*)
# 10001: some base images have a user 1000 already.
RUN useradd --create-home --uid 10001 scalenet \
 && install --directory --owner scalenet --group scalenet /home/scalenet/project
COPY --from=build /opt/scalenet /opt/scalenet
# Who git says that a workspace's commits are by.
ENV PATH=/opt/scalenet/bin:$PATH PYTHONUNBUFFERED=1 \
    GIT_AUTHOR_NAME=scalenet GIT_AUTHOR_EMAIL=scalenet@localhost \
    GIT_COMMITTER_NAME=scalenet GIT_COMMITTER_EMAIL=scalenet@localhost
USER scalenet
# An empty folder becomes the project of the digits; a volume with a project of yours is that.
WORKDIR /home/scalenet/project

# A run is well while its project can be read; compose.yaml asks servers and workers themselves.
HEALTHCHECK --interval=5m --timeout=1m --start-period=2m CMD ["scalenet", "status"]
# As process 1 a shell neither ends by a signal nor hands it on: this one interrupts the run. What is
# process 1 without a shell, as `scalenet run` may be, hears SIGINT and not the usual SIGTERM.
STOPSIGNAL SIGINT
CMD ["bash", "-c", "set -m; trap 'kill -INT $!' INT TERM; scalenet run & set +m; \
wait $! || wait $! && exec scalenet family"]
