"""``scalenet register``."""

from __future__ import annotations

from pathlib import Path

import click

from scalenet.pipeline.cli import InProject


@click.command(name="register", cls=InProject)
def command() -> None:
    """Put the members that lie here into the model registry, for a clone that pulled them.

    Members that are registered stay as they are. What is deployed stays too, unless it is nothing.
    What waits for an MLflow that was away is delivered first.

    \b
    dvc pull && scalenet register
    """
    from scalenet.config import params as config
    from scalenet.config.away import Unavailable
    from scalenet.pipeline.models import deployment
    from scalenet.pipeline.remember import reports, stores

    params, refused = config.load(Path.cwd() / "params.yaml"), []
    try:
        for folder in reports.waiting(Path.cwd()):
            try:
                reports.deliver(Path.cwd(), folder)
                click.echo(f"{folder.name}  delivered to MLflow")
            except Unavailable:
                raise
            except ValueError as error:
                refused.append(reports.stays(folder, error))
        click.echo(deployment.enter(Path.cwd(), params))
    except stores.AWAY as error:
        raise Unavailable(
            f"MLflow could not be told everything ({stores.why(error)}); nothing is lost: mend "
            "that, and `scalenet register` goes on"
        ) from error
    if refused:
        raise ValueError("\n".join(refused))
