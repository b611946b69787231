"""``scalenet register``."""

from __future__ import annotations

from pathlib import Path

import click

from scalenet.pipeline import REFUSED
from scalenet.pipeline.cli import InProject, tell_if_other


@click.command(name="register", cls=InProject)
def command() -> None:
    """Put the members that lie here into the model registry, for a clone that pulled them.

    Members that are registered stay as they are. What is deployed stays too, unless it is nothing.
    What waits for an MLflow that was away is delivered first. A family that a run published, and
    that does not lie here, waits on: a line says what brings it here.

    \b
    dvc pull && scalenet register
    """
    from scalenet.config import params as config
    from scalenet.config.away import Unavailable
    from scalenet.pipeline.models import deployment
    from scalenet.pipeline.remember import reports, stores
    from scalenet.records.paths import Paths

    root, refused, shown = Path.cwd(), 0, set()
    params = config.load(root / "params.yaml")
    tell_if_other()
    try:
        waiting = reports.waiting(root)
        for folder in [*waiting, *reports.to_register(root)]:
            try:
                said = reports.deliver(root, folder)
            except Unavailable:
                raise
            except ValueError as error:
                click.echo(reports.stays(folder, error), err=True)
                refused = REFUSED
            else:
                told = [f"{folder.name}  delivered to MLflow"] if folder in waiting else []
                _say([*told, said], shown)
        _say(reports.unregistered(root), shown)
        if (Paths(root).family / "family.json").exists() or not shown:  # else it lies elsewhere
            _say([deployment.enter(root, params)], shown)
    except stores.AWAY as error:
        raise Unavailable(
            f"MLflow could not be told everything ({stores.why(error)}); nothing is lost: mend "
            "that, and `scalenet register` goes on"
        ) from error
    raise SystemExit(refused)


def _say(lines: list[str], shown: set[str]) -> None:
    """Print lines, each once."""
    for line in lines:
        if line and line not in shown:
            click.echo(line)
        shown.add(line)
