"""compose.yaml, as far as it can be judged without a container engine; test_servers.py runs it."""

from __future__ import annotations

import os
import re

from stack import SERVICES, VOLUMES, typed
from test_operations import sections

SECRETS = sections()["Servers that outlive a laptop"][0]


def test_it_listens_on_loopback_alone_and_wants_its_secrets_from_the_environment(tmp_path):
    ports = [port for service in SERVICES.values() for port in service.get("ports", ())]
    assert len(ports) == 3 and all(port.startswith("127.0.0.1:") for port in ports)
    wanted = set()
    for service in SERVICES.values():
        for name, value in service["environment"].items():
            wanted |= set(re.findall(r"\$\{(\w+):\?[^}]+\}", value))  # or it refuses to start
            if any(word in name for word in ("PASSWORD", "SECRET", "TOKEN", "AUTH", "KEY")):
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
