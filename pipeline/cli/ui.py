"""``scalenet ui``."""

from __future__ import annotations

from pathlib import Path

import click

from scalenet.pipeline import make_prefect_home
from scalenet.pipeline.cli import InProject

PORT = click.IntRange(1, 65535)


@click.command(name="ui", cls=InProject)
@click.option("--mlflow-port", default=5000, show_default=True, type=PORT)
@click.option("--prefect-port", default=4200, show_default=True, type=PORT)
def command(mlflow_port: int, prefect_port: int) -> None:
    """Open MLflow and Prefect over this folder's results, on loopback, until Ctrl-C.

    The links that it prints carry a secret: nobody else on this machine gets in without it.

    \b
    scalenet ui
    """
    make_prefect_home()
    from scalenet.pipeline.doors import pages

    raise SystemExit(pages.serve(Path.cwd(), mlflow_port, prefect_port))
