"""``scalenet stage``."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from scalenet.pipeline import LEAST, complete
from scalenet.pipeline.cli import InProject


@click.command(name="stage", cls=InProject)
@click.argument("name", shell_complete=complete.stage)
@click.argument("member", required=False, shell_complete=complete.stage_member)
def command(name: str, member: str | None) -> None:
    """Run one stage, whether or not it is up to date; MEMBER is a size, for stage retrain.

    dvc.yaml calls this: `dvc repro` runs what is not up to date. The run is remembered in MLflow,
    and is a flow of the Prefect server that is configured, if there is one.

    \b
    scalenet stage prepare
    scalenet stage retrain S2
    """
    from scalenet.stages import STAGES, check_limit

    check_limit(LEAST)
    from scalenet.pipeline import project
    from scalenet.pipeline.runs import single

    if name not in (*STAGES, project.CHECK):
        raise ValueError(f"{name!r} is no stage; there are {', '.join(STAGES)}")

    code = single.run(Path.cwd(), name, member)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # freeing the libraries' objects one by one takes a second a stage
