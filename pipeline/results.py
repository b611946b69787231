"""What a person does with a built family: look at it, register it, open the pages."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from pipeline import registry, report, tracking
from stages import params as stage_params
from stages.artifacts import Family, Paths

PORTS = {"mlflow": 5000, "prefect": 4200}


def show(root: Path) -> int:
    """Print the family, what its laws say of the next size, and the commands that open the results."""
    params, paths = stage_params.load(root / "params.yaml"), Paths(root)
    family = Family.read(paths.family / "family.json")
    print(report.table(family, registry.versions(root, params)))
    for at in (family.law or {"next": []})["next"]:
        interval = f"{100 * at['low']:.1f}–{100 * at['high']:.1f} %"
        print(
            f"at {at['multiple']:g} x the base budget the accuracy law expects {100 * at['value']:.2f} % ({interval})"
        )
    print(f"\nfigure    {(paths.family / report.FIGURE).relative_to(root)}")
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
    """Serve MLflow and Prefect on loopback until interrupted."""
    mlflow = [
        sys.executable,
        "-m",
        "mlflow",
        "server",
        "--backend-store-uri",
        tracking.uri(root),
        "--host",
        "127.0.0.1",
    ]
    mlflow += ["--port", str(PORTS["mlflow"]), "--workers", "1"]
    prefect = [sys.executable, "-m", "prefect", "server", "start", "--port", str(PORTS["prefect"])]
    environment = os.environ | {
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "PREFECT_SERVER_UI_API_URL": "/api",
        "DO_NOT_TRACK": "1",
    }
    for name, port in PORTS.items():
        print(f"{name:8} http://127.0.0.1:{port}")
    servers = [subprocess.Popen(command, env=environment, cwd=root) for command in (mlflow, prefect)]
    try:
        for server in servers:
            server.wait()
    except KeyboardInterrupt:
        pass
    finally:
        for server in servers:
            server.terminate()
        for server in servers:
            server.wait()
    return 0
