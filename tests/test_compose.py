"""compose.yaml, as far as it can be judged without a container engine; test_servers.py runs it."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from contextlib import suppress

import httpx
import pytest
from stack import SERVICES, VOLUMES, filled, free_port, surroundings, typed, wait_for
from test_operations import sections

from scalenet.pipeline.remember import stores

SECRETS = sections()["Servers that outlive a laptop"][0]


def test_it_listens_on_loopback_alone_and_wants_its_secrets_from_the_environment(tmp_path):
    ports = [port for service in SERVICES.values() for port in service.get("ports", ())]
    assert len(ports) == 3 and all(port.startswith("127.0.0.1:") for port in ports)
    wanted = set()
    for service in SERVICES.values():
        for name, value in service["environment"].items():
            secrets = re.findall(r"\$\{(\w+):\?[^}]+\}", value)  # or it refuses to start
            wanted |= set(secrets)
            named = any(word in name for word in ("PASSWORD", "SECRET", "TOKEN", "AUTH", "KEY"))
            # alone: in an address @ or / would mean something
            if secrets or named:
                assert re.fullmatch(r"\$\{\w+:\?[^}]+\}", value), name
    typed(SECRETS, tmp_path, {"PATH": os.environ["PATH"]})
    given = dict(re.findall("(.+?)=(.+)\n", (tmp_path / ".env").read_text()))
    assert given.keys() == wanted and (tmp_path / ".env").stat().st_mode & 0o077 == 0


def test_it_keeps_what_must_last_and_watches_every_service_that_runs():
    services, volumes = SERVICES, VOLUMES
    kept = {volume.split(":")[0] for s in services.values() for volume in s.get("volumes", ())}
    assert kept == volumes.keys() == {"postgres", "s3", "project"}
    assert [name for name, s in services.items() if "healthcheck" not in s] == ["setup"]
    assert [name for name, s in services.items() if "build" in s] == ["setup"]  # one, for all
    assert services["worker"]["hostname"]  # else a new container does not know the runs of the last
    assert services["worker"]["shm_size"] == "4gb"  # of docker's 64 MB large images need more
    assert {s["restart"] for name, s in services.items() if name != "setup"} == {"unless-stopped"}


@pytest.fixture(scope="module")
def mlflow(tmp_path_factory):
    """Run compose.yaml's MLflow, of which the environment names a host, on SQLite; yield its
    port."""
    folder, port = tmp_path_factory.mktemp("mlflow"), free_port()
    command = filled(SERVICES["mlflow"]["command"], {"MLFLOW_PUBLIC_HOST": "mlflow.example.org"})
    here = {"0.0.0.0": "127.0.0.1", "5000": str(port), "2": "1", "s3://mlflow": str(folder)}
    environment = surroundings(folder) | {
        "SCALENET_UI_TOKEN": "secret",
        "MLFLOW_BACKEND_STORE_URI": f"sqlite:///{folder}/m.db",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    words = [here.get(word, word) for word in shlex.split(command)]
    with subprocess.Popen(words, env=environment, stderr=subprocess.DEVNULL) as process:
        wait_for(lambda: answer(port, "localhost") is not None)
        yield port
        process.terminate()


def answer(port: int, host: str, **headers: str) -> int | None:
    """Return the status of an answer to who has the secret, by way of that host."""
    known = {"Host": host, "Authorization": "Bearer secret", **headers}
    url = f"http://127.0.0.1:{port}/api/2.0/mlflow/experiments/search"
    with suppress(httpx.HTTPError):
        return httpx.post(url, json={"max_results": 1}, headers=known, timeout=60).status_code


def test_mlflow_answers_behind_a_proxy_that_keeps_the_hosts_name(mlflow):
    for host in ("localhost", "127.0.0.1", f"127.0.0.1:{mlflow}", "mlflow.example.org"):
        assert answer(mlflow, host, Origin="https://mlflow.example.org") == 200, host
    assert answer(mlflow, "elsewhere.org") == 403
    assert answer(mlflow, "localhost", Origin="https://elsewhere.org") == 403


def test_a_name_that_mlflow_does_not_know_is_told_from_a_wrong_secret(
    mlflow, tmp_path, monkeypatch
):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.1:{mlflow}")
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "secret")
    with pytest.raises(ValueError, match="MLFLOW_PUBLIC_HOST") as refused:
        stores.connect(tmp_path)
    assert f"http://127.1:{mlflow}" in str(refused.value) and "TOKEN" not in str(refused.value)
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "another")
    with pytest.raises(ValueError, match="refuses MLFLOW_TRACKING_TOKEN"):
        stores.connect(tmp_path)
