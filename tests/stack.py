"""compose.yaml's services as processes of this machine: its commands, variables and health checks,
on free loopback ports, with Debian's PostgreSQL and an S3 store that can be full."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from threading import Thread
from typing import Any

import boto3
import yaml
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

COMPOSE = Path(__file__).parent.parent / "compose.yaml"
SERVICES, VOLUMES = map(yaml.safe_load(COMPOSE.read_text()).get, ("services", "volumes"))
PORTS = {"postgres": 5432, "s3": 9000, "mlflow": 5000, "prefect": 4200, "worker": 8080}
DOCKER = """
docker() {  # there is no engine here: what runs in the worker's container runs in its folder
  case "$*" in
    "compose run --rm --no-deps worker "*) shift 5; "$@" ;;
    "compose up --detach") ;;  # the fixture starts what it would start
    *) return 1 ;;
  esac
}
"""
REFUSAL = "<?xml version='1.0'?><Error><Code>{}</Code><Message>{}</Message></Error>"


def filled(value: str, given: dict[str, str]) -> str:
    """Return a value of compose.yaml with variables, or their defaults, in their places."""
    value = re.sub(r"\$\{(\w+):\?[^}]*\}", lambda found: given[found[1]], value)
    return re.sub(r"\$\{(\w+):-([^}]*)\}", lambda found: given.get(found[1], found[2]), value)


def postgres_binaries() -> Path | None:
    """Return the folder of PostgreSQL's programs, which Debian keeps off the PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    program = found[-1] if found else shutil.which("initdb")
    return Path(program).parent if program else None


class Quiet(WSGIRequestHandler):
    """A handler that prints no line a request."""

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        return None


class Store:
    """An S3 store in memory; ``full`` refuses what is written, as a disk or a quota does."""

    def __init__(self, port: int, key: str):
        self.key, self.full = key, False
        self.moto = DomainDispatcherApplication(create_backend_app)
        self.server = make_server("127.0.0.1", port, self, threaded=True, request_handler=Quiet)
        Thread(target=self.server.serve_forever, daemon=True).start()

    def __call__(self, request: dict[str, Any], answer: Callable) -> Iterable[bytes]:
        if f"Credential={self.key}/" not in request.get("HTTP_AUTHORIZATION", ""):
            refusal = ("403 Forbidden", "InvalidAccessKeyId", "the key is not known")
        elif self.full and request["REQUEST_METHOD"] in ("PUT", "POST"):
            refusal = ("507 Insufficient Storage", "XMinioStorageFull", "drive is full")
        else:
            return self.moto(request, answer)
        request["wsgi.input"].read(int(request.get("CONTENT_LENGTH") or 0))
        answer(refusal[0], [("Content-Type", "application/xml")])
        return (
            [] if request["REQUEST_METHOD"] == "HEAD" else [REFUSAL.format(*refusal[1:]).encode()]
        )


class Stack:
    """The services that run, with the secrets that compose.yaml wants from the environment."""

    def __init__(self, folder: Path, base: dict[str, str], secrets: dict[str, str]):
        self.folder, self.base, self.secrets = folder, base, secrets
        self.running: dict[str, subprocess.Popen] = {}
        self.ports = {name: free_port() for name in PORTS}
        self.data = Path(tempfile.mkdtemp(prefix="scalenet-postgres-"))  # its user may enter it
        self.store = Store(self.ports["s3"], secrets["AWS_ACCESS_KEY_ID"])

    def here(self, value: str) -> str:
        """Return a value of compose.yaml with the secrets and addresses of this machine."""
        value = filled(value, self.secrets)
        for name, port in PORTS.items():
            value = re.sub(rf"\b{name}:{port}\b", f"127.0.0.1:{port}", value)
            value = re.sub(
                rf"(127\.0\.0\.1:|--port |^){port}\b", rf"\g<1>{self.ports[name]}", value
            )
        return "127.0.0.1" if value == "postgres" else value.replace("0.0.0.0", "127.0.0.1")

    def variables(self, service: str) -> dict[str, str]:
        """Return the environment of a service."""
        given = {k: self.here(v) for k, v in SERVICES[service]["environment"].items()}
        return self.base | given | {"PGPORT": str(self.ports["postgres"])}

    def command(self, service: str) -> list[str]:
        given = SERVICES[service]["command"]
        return given if isinstance(given, list) else shlex.split(self.here(given))

    def start(self, *services: str, folder: Path | None = None) -> None:
        """Start services side by side, and wait until their health checks say that they are well.

        PostgreSQL makes its files first.
        """
        for service in services:
            command, options = (
                self._postgres()
                if service == "postgres"
                else (self.command(service), {"env": self.variables(service), "cwd": folder})
            )
            with (self.folder / f"{service}.log").open("ab") as lines:
                self.running[service] = subprocess.Popen(
                    command, stdout=lines, stderr=lines, start_new_session=True, **options
                )
        for service in services:
            wait_for(lambda service=service: self._ended(service) or self.healthy(service))
            assert not self._ended(service), (self.folder / f"{service}.log").read_text()[-3000:]

    def _ended(self, service: str) -> bool:
        return self.running[service].poll() is not None

    def healthy(self, service: str) -> bool:
        """Ask a service what compose.yaml's health check asks it."""
        _, *command = map(self.here, SERVICES[service]["healthcheck"]["test"])
        return not subprocess.run(
            command, env=self.variables(service), capture_output=True, timeout=30
        ).returncode

    def _postgres(self) -> tuple[list, dict[str, Any]]:
        options: dict[str, Any] = {"env": self.base, "cwd": "/"}
        if os.getuid() == 0:  # which PostgreSQL refuses
            shutil.chown(self.data, "postgres", "postgres")
            options |= {"user": "postgres", "group": "postgres", "extra_groups": []}
        files, secret = self.data / "files", self.data / "secret"
        if not files.exists():
            secret.write_text(self.secrets["POSTGRES_PASSWORD"])
            initdb = ["initdb", "-D", files, "-U", "scalenet", "--no-sync"]
            initdb += ["--auth", "scram-sha-256", "--pwfile", secret]
            subprocess.run(initdb, check=True, capture_output=True, **options)
        command = ["postgres", "-D", files, "-h", "127.0.0.1", "-k", "", "-c", "fsync=off"]
        return [*command, "-p", str(self.ports["postgres"])], options

    def setup(self) -> None:
        """Make the databases and buckets, as the service ``setup`` does."""
        subprocess.run(
            self.command("setup"), env=self.variables("setup"), check=True, capture_output=True
        )

    def stop(self, service: str) -> None:
        process = self.running.pop(service)
        process.send_signal(signal.SIGINT)  # PostgreSQL ends its connections
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def end(self) -> None:
        for service in reversed(list(self.running)):
            self.stop(service)
        self.store.server.shutdown()
        shutil.rmtree(self.data)

    def objects(self, bucket: str, prefix: str = "") -> list[str]:
        """Return the names of what a bucket holds."""
        variables = self.variables("setup")
        store = boto3.client(
            "s3",
            endpoint_url=variables["AWS_ENDPOINT_URL"],
            region_name=variables["AWS_DEFAULT_REGION"],
            aws_access_key_id=variables["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=variables["AWS_SECRET_ACCESS_KEY"],
        )
        pages = store.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        return [item["Key"] for page in pages for item in page.get("Contents", ())]


def typed(text: str, folder: Path, environment: dict[str, str]) -> str:
    """Run commands of the document, which must succeed; return what they printed."""
    done = subprocess.run(
        ["bash", "-ec", DOCKER + text],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert not done.returncode, done.stdout + done.stderr
    return done.stdout


def surroundings(folder: Path) -> dict[str, str]:
    """Return an environment that knows no server, with this environment's programs and
    PostgreSQL's."""
    drop = ("PREFECT_", "MLFLOW_", "DVC_", "AWS_", "PG")
    known = {name: value for name, value in os.environ.items() if not name.startswith(drop)}
    folders = [str(Path(sys.executable).parent), os.environ["PATH"], str(postgres_binaries())]
    known |= {"HOME": str(folder), "PREFECT_HOME": str(folder / "home"), "OMP_NUM_THREADS": "1"}
    for role in ("AUTHOR", "COMMITTER"):
        known |= {f"GIT_{role}_NAME": "t", f"GIT_{role}_EMAIL": "t@t"}
    return known | {"PATH": os.pathsep.join(folders)}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


def wait_for(condition: Callable[[], Any], seconds: float = 300) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.5)
