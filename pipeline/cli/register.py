"""``scalenet register``."""

from __future__ import annotations

from pathlib import Path

import click

from scalenet.pipeline.cli import InProject


@click.command(name="register", cls=InProject)
def command() -> None:
    """Put the members that lie here into the model registry, for a clone that pulled them.

    Members that are registered stay as they are. What is deployed stays too, unless it is nothing.

    \b
    dvc pull && scalenet register
    """
    from scalenet.config import params as config
    from scalenet.pipeline import deployment

    params = config.load(Path.cwd() / "params.yaml")
    click.echo(deployment.enter(Path.cwd(), params))
