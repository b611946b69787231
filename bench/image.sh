#!/usr/bin/env bash
# Build the Dockerfile without a container engine, run the main job and a worker in the image, and
# say how large it is: as root on Debian, in a folder of its own with 15 GB free.
#   apt-get install --yes buildah debootstrap
#   bench/image.sh /var/tmp/scalenet-image
# From the environment: BASE, a folder that debootstrap made; PIP_OPTIONS, instead of the index of
# torch's CPU builds; BUILD_OPTIONS for `buildah bud`, such as `--volume` with certificates.
# What it made is removed in the end; KEEP=1 leaves it.
set -euo pipefail
set -m # a job is a group of processes, which ends as one
work=${1:?the folder to work in}
base=${BASE:-$work/base}
project=$(cd "$(dirname "$0")/.." && pwd)
mkdir -p "$work"
export BUILDAH_ISOLATION=chroot BUILDAH_FORMAT=docker
buildah() { command buildah --storage-driver vfs --root "$work/store" --runroot "$work/run" "$@"; }
in_image() { buildah run "$container" -- "$@"; }
end() {
  for job in $(jobs -p); do kill -KILL -- "-$job" 2> /dev/null || true; done
  wait
  if [ -z "${KEEP:-}" ]; then # what is still mounted is left alone
    buildah rm --all > /dev/null
    buildah rmi --all --force > /dev/null
    rm -rf --one-file-system "$work/store" "$work/run" "$work/base"
  fi
}
trap end EXIT

# A base image of Debian's own packages: what python:3.11-slim-bookworm is elsewhere.
[ -e "$base/usr/bin/python3" ] || debootstrap --variant=minbase \
  --include=python3,python3-venv,ca-certificates,git bookworm "$base" http://deb.debian.org/debian
empty=$(buildah from scratch)
buildah copy --quiet "$empty" "$base" /
buildah commit --quiet --rm "$empty" localbase

start=$SECONDS
buildah bud --layers=false ${BUILD_OPTIONS:-} --build-arg BASE_IMAGE=localhost/localbase \
  ${PIP_OPTIONS+--build-arg "PIP_OPTIONS=$PIP_OPTIONS"} --tag scalenet "$project"
echo "built in $((SECONDS - start)) s"
about='{{.Docker.Config.User}}, health check {{.Docker.Config.Healthcheck.Test}}'
echo "user $(buildah inspect --type image --format "$about" scalenet)," \
  "$(buildah images --format '{{.Size}}' localhost/scalenet)"

container=$(buildah from scalenet)
echo "runs as $(in_image id -un), without a compiler:" \
  "$(in_image sh -c 'command -v gcc cc make || echo none')"
in_image python -c 'import asyncpg, boto3, distributed, dvc_s3, psycopg2' # of the servers, and Dask
in_image sh -c 'cd /opt/scalenet && du -sm . && du -sm lib/python3*/site-packages/* | sort -rn | head -8'

# The main job, in the empty folder that a new volume is; then what the health check asks.
in_image scalenet run --preset tiny
in_image sh -c 'scalenet family && scalenet status'

# A worker, which takes a run from a server: both in the image, on loopback.
port=$(python3 -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])')
run() {
  in_image env PREFECT_API_URL="http://127.0.0.1:$port/api" PREFECT_SERVER_ANALYTICS_ENABLED=false "$@"
}
run prefect server start --host 127.0.0.1 --port "$port" > "$work/server.log" 2>&1 &
until run prefect work-pool ls > /dev/null 2>&1; do sleep 2; done
run prefect work-pool create gpu --type process
run sh -c 'git init --quiet && dvc config core.no_scm false && git add . && git commit --quiet -m family'
run prefect --no-prompt deploy --all
run prefect worker start --pool gpu > "$work/worker.log" 2>&1 &
run prefect deployment run family/family --param overrides=publish.draws=60 --watch
echo "the main job and a worker ran in the image"
