"""MLflow's and Prefect's pages over a project, on loopback and behind a secret."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, suppress
from pathlib import Path

from scalenet.config import params as config
from scalenet.pipeline.address import hidden
from scalenet.pipeline.doors import servers
from scalenet.pipeline.doors.guard import TOKEN
from scalenet.pipeline.models.registry import model_name
from scalenet.pipeline.remember import stores, views

QUIET = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "PREFECT_SERVER_UI_API_URL": "/api"}


def serve(root: Path, mlflow_port: int, prefect_port: int) -> int:
    """Serve MLflow and Prefect until interrupted; of a configured server, print the address."""
    token, configured = secrets.token_urlsafe(24), servers.configured()
    commands: dict[str, list[str]] = {}
    ports = {"--mlflow-port": mlflow_port} if stores.local_database(root) else {}
    _check_free(ports | ({} if configured else {"--prefect-port": prefect_port}))
    if "--mlflow-port" in ports:
        commands["mlflow"] = _mlflow(stores.uri(root), mlflow_port)
        address = f"http://127.0.0.1:{mlflow_port}/?token={token}"
    else:
        address = f"{hidden(stores.uri(root)).rstrip('/')}/"
    for name, fragment in _fragments(root).items():
        print(f"{name:10} {address}{fragment}", flush=True)
    if configured:
        print(f"prefect    {hidden(configured.removesuffix('/api'))}", flush=True)
    else:
        commands["prefect"] = _prefect(prefect_port)
        print(f"prefect    http://127.0.0.1:{prefect_port}/?token={token}", flush=True)
    return _run(list(commands.values()), root, os.environ | QUIET | {TOKEN: token})


def _check_free(ports: dict[str, int]) -> None:
    """Refuse a port that another program has: it would be sent the secret of the link."""
    with ExitStack() as held:
        for option, port in ports.items():
            try:
                held.enter_context(socket.create_server(("127.0.0.1", port)))
            except OSError as error:
                why = os.strerror(error.errno)
                raise ValueError(
                    f"{option} {port}: cannot listen there ({why}), maybe another `scalenet ui` "
                    f"does; end that one, or give another {option}"
                ) from error


def _fragments(root: Path) -> dict[str, str]:
    """Return what MLflow has to show, by a word each: the fragments of the links to it."""
    client = stores.connect(root)
    if not (root / "params.yaml").exists():
        return {"mlflow": views.experiments()}
    params = config.load(root / "params.yaml")
    return {"mlflow": views.experiments(), **views.links(client, params, model_name(params))}


def _mlflow(uri: str, port: int) -> list[str]:
    store = ["--backend-store-uri", uri, "--app-name", "scalenet", "--workers", "1"]
    server = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
    return [*server, *store]


def _prefect(port: int) -> list[str]:
    server = [
        sys.executable,
        "-m",
        "uvicorn",
        "--factory",
        "scalenet.pipeline.doors.guard:prefect_app",
    ]
    return [*server, "--host", "127.0.0.1", "--port", str(port), "--log-level", "warning"]


def _run(commands: list[list[str]], root: Path, environment: dict[str, str]) -> int:
    """Run servers until one of them ends, Ctrl-C, SIGTERM, or its terminal closes; return the code
    of the one that failed, if any."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup has it
            signal.signal(number, signal.default_int_handler)
    mask = servers.no_others()
    started = {"env": environment, "cwd": root, "start_new_session": True, "umask": mask}
    processes = [subprocess.Popen(command, **started) for command in commands]
    try:
        while processes and all(process.poll() is None for process in processes):
            time.sleep(0.5)
        return max((abs(process.poll() or 0) for process in processes), default=0)
    except KeyboardInterrupt:
        return 0
    finally:
        for process in processes:
            with suppress(ProcessLookupError):  # it ended by itself, and all that it had started
                os.killpg(process.pid, signal.SIGTERM)
        for process in processes:
            process.wait()
