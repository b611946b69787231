"""``scalenet status``."""

from __future__ import annotations

from pathlib import Path

import click

from scalenet.pipeline.cli import InProject, tell_if_other
from scalenet.records.written import counted

MOST = 3  # reasons that a line names


@click.command(name="status", cls=InProject)
def command() -> None:
    """Say what `scalenet run` would compute, why, and about how long that takes.

    Seconds are those of a stage's last run here, else those that `scalenet init` planned.

    \b
    scalenet status
    """
    from scalenet.config.explain import some
    from scalenet.pipeline import project, repro, status

    tell_if_other()
    project.check_stages(Path.cwd())
    total, untimed = 0.0, 0
    try:
        found = list(status.standings(Path.cwd()))
    except repro.Busy:
        click.echo("DVC is at work in another process (a run, a push): what would run is not known")
        return
    for stage in found:
        known = stage.seconds != status.UNKNOWN
        if stage.busy:
            click.echo(f"{stage.name:14} is computed now")
            continue
        if not stage.reasons:
            click.echo(f"{stage.name:14} up to date")
            continue
        total += stage.seconds if known else 0.0
        untimed += not known
        cost = f"{stage.seconds / 60:5.1f} min" if known else "    ? min"
        click.echo(f"{stage.name:14} {cost}  {some(stage.reasons, MOST)}")
    if any(reason.endswith(": not in cache") for stage in found for reason in stage.reasons):
        click.echo("what is not in cache `dvc pull` fetches, if a remote has it")
    if total:
        more = f", and {counted(untimed, 'stage')} never timed" if untimed else ""
        click.echo(f"in all {total / 60:.1f} minutes, one after the other{more}")
    elif untimed:
        click.echo("how long is not known: none of these was timed here or planned by init")
