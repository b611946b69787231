"""``scalenet register``."""

from __future__ import annotations

from pathlib import Path

import click

from scalenet.pipeline.cli import InProject


@click.command(name="register", cls=InProject)
def command() -> None:
    """Put the members that lie here into the model registry, for a clone that pulled them.

    Members that are registered stay as they are.

    \b
    dvc pull && scalenet register
    """
    from scalenet.config import params as config
    from scalenet.pipeline import generations, registry

    params = config.load(Path.cwd() / "params.yaml")
    for name, version in generations.register(Path.cwd(), params).items():
        click.echo(f"{name}  {registry.model_name(params)} version {version}")
