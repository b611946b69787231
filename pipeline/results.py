"""What a person does with a built family: look at it, register it, open the pages."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from scalenet.config import params as stage_params
from scalenet.pipeline import registry, server, tracking
from scalenet.records.documents import Family
from scalenet.records.paths import Paths
from scalenet.report import figure, table

PORTS = {"mlflow": 5000, "prefect": 4200}


def show(root: Path) -> int:
    """Print the family, what its laws say of the next size, and the commands that open the results."""
    params, paths = stage_params.load(root / "params.yaml"), Paths(root)
    family = Family.read(paths.family / "family.json")
    print(table.table(family, registry.versions(root, params)))
    for at in (family.law or {"next": []})["next"]:
        interval = f"{100 * at['low']:.1f}–{100 * at['high']:.1f} %"
        print(
            f"at {at['multiple']:g} x the base budget the accuracy law expects {100 * at['value']:.2f} % ({interval})"
        )
    print(f"\nfigure    {(paths.family / figure.FIGURE).relative_to(root)}")
    print("results   make ui          MLflow's runs, charts and registry; Prefect's flows")
    print("plots     dvc plots show   dvc metrics show")
    print(f'load      mlflow.pytorch.load_model("models:/{registry.model_name(params)}@s0")')
    return 0


def register(root: Path) -> int:
    """Register the members that lie here, for a clone that pulled them; registered ones stay as they are."""
    params = stage_params.load(root / "params.yaml")
    for name, version in registry.register(root, params).items():
        print(f"{name}  {registry.model_name(params)} version {version}")
    return 0


def ui(root: Path) -> int:
    """Serve MLflow and Prefect on loopback until interrupted; of a configured server, print the address."""
    python, servers = [sys.executable, "-m"], {}
    if tracking.local_database(root):
        store = ["--backend-store-uri", tracking.uri(root), "--port", str(PORTS["mlflow"]), "--workers", "1"]
        servers["mlflow"] = [*python, "mlflow", "server", "--host", "127.0.0.1", *store]
    else:
        print(f"mlflow   {tracking.uri(root)}")
    if configured := server.configured():
        print(f"prefect  {configured.removesuffix('/api')}")
    else:
        servers["prefect"] = [*python, "prefect", "server", "start", "--port", str(PORTS["prefect"])]
    for name in servers:
        print(f"{name:8} http://127.0.0.1:{PORTS[name]}", flush=True)
    return _serve(list(servers.values()), root)


def _serve(commands: list[list[str]], root: Path) -> int:
    """Run servers until one of them ends or Ctrl-C; return the code of the one that failed, if any."""
    environment = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "PREFECT_SERVER_UI_API_URL": "/api"}
    processes = [subprocess.Popen(command, env=environment, cwd=root) for command in commands]
    try:
        while all(process.poll() is None for process in processes) and processes:
            time.sleep(0.5)
        return max((abs(process.poll() or 0) for process in processes), default=0)
    except KeyboardInterrupt:
        return 0
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait()
