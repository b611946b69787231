"""``scalenet family``."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import click

from scalenet.pipeline.cli import InProject, tell_if_other, unless_away


@click.command(name="family", cls=InProject)
@click.option("--networks", is_flag=True, help="Each member's strategy and network too.")
def command(networks: bool) -> None:
    """Show the family that was built: its members, what they should beat, and warnings.

    On a narrow terminal the table leaves out columns. `scalenet report` shows the same, and more,
    as a page.

    \b
    scalenet family
    scalenet family --networks | less -S
    """
    from scalenet.config import params as config
    from scalenet.records.paths import Paths
    from scalenet.report import table

    root = Path.cwd()
    params, paths = config.load(root / "params.yaml"), Paths(root)
    built = paths.published()
    tell_if_other()
    columns = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    versions, latencies, standing, load = None, {}, "", ""
    with unless_away():
        versions, latencies, standing, load = _registered(root, params, built)
    click.echo(table.text(built, versions, latencies, columns))
    for at in (built.law or {"next": []})["next"]:
        click.echo(table.prediction(at))
    if built.baselines:
        click.echo(f"\n{table.baselines(built)}")
    if networks:
        click.echo(f"\n{table.networks(built)}")
    click.echo("")
    # the numbers above stay true of the published weights, and can be looked at meanwhile
    anew = [f"warning: {changed}"] if (changed := paths.anew(built.members)) else []
    for line in [*anew, *table.warnings(built), *table.key(built, latencies)]:
        click.echo(line)
    click.echo("report    scalenet report  one page: figures, mistakes, networks, cost")
    click.echo("classes   artifacts/family/recall.csv   artifacts/family/confusion.csv")
    if standing:
        click.echo(standing)
    click.echo("results   scalenet ui      MLflow's runs, charts and registry; Prefect's flows")
    click.echo("plots     dvc plots show   dvc metrics show")
    if load:
        click.echo(load)


def _registered(root: Path, params: Any, built: Any) -> tuple[dict, dict, str, str]:
    """Return what the registry knows of a family: versions and latencies of its members, a line on
    what is deployed, and one on how its smallest member is loaded."""
    from scalenet.pipeline.models import deployment, generations
    from scalenet.pipeline.remember import remembered

    versions, latencies = generations.versions(root, params), remembered.latencies(root, params)
    names = [trained.member.name for trained in built.members]
    missing, standing = [name for name in names if name not in versions], ""
    if not missing:
        standing = f"registry  {deployment.standing(root, params)}"
    elif versions:
        standing = f"registry  without {', '.join(missing)}; `scalenet register` adds what lacks"
    load = generations.load_line(root, params, built.members[0].member.name)
    return versions, latencies, standing, load
