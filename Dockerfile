# One image for CPU and GPU: give a CUDA base image with Python 3.11 for the latter.
#   docker build --tag scalenet .
#   docker run --rm --volume scalenet:/home/scalenet/project scalenet
ARG BASE_IMAGE=python:3.11-slim-bookworm
FROM ${BASE_IMAGE}

# The versions to install; another file suits another platform.
ARG CONSTRAINTS=constraints.txt
# Options for pip, such as an index of one's own; not kept in the image.
ARG PIP_OPTIONS=""

# A base image may have all three already; a stock Python one lacks make and git.
RUN command -v git && command -v make \
 || (apt-get update && apt-get install --yes --no-install-recommends git make && rm -rf /var/lib/apt/lists/*)

RUN useradd --create-home --uid 1000 scalenet
USER scalenet
WORKDIR /home/scalenet/project

# Dependencies first: this layer stays while only the code changes.
COPY --chown=scalenet pyproject.toml ${CONSTRAINTS} ./
RUN mkdir -p src/scalenet/config src/scalenet/space src/scalenet/laws src/scalenet/records \
      src/scalenet/data src/scalenet/nets src/scalenet/training src/scalenet/baselines \
      src/scalenet/search src/scalenet/export src/scalenet/report stages presets \
      pipeline/cli pipeline/init pipeline/runs pipeline/watch pipeline/remember \
      pipeline/models pipeline/doors \
 && python3 -m venv /home/scalenet/venv \
 && /home/scalenet/venv/bin/pip install --no-cache-dir --disable-pip-version-check ${PIP_OPTIONS} \
      --constraint "$(basename ${CONSTRAINTS})" --editable '.[test]'

COPY --chown=scalenet . .
ENV PATH=/home/scalenet/venv/bin:$PATH PYTHONUNBUFFERED=1

# DVC wants a repository to keep its lock file in; a context without .git gets one.
RUN git rev-parse --git-dir || (git init --quiet && git add --all \
 && git -c user.name=scalenet -c user.email=scalenet@localhost commit --quiet --message "image") 

# What `make family` does, without making the environment again.
CMD ["sh", "-c", "scalenet run && scalenet family"]
