"""``scalenet status``."""

from __future__ import annotations

from pathlib import Path

import click

MOST = 3  # reasons that a line names


@click.command(name="status")
def command() -> None:
    """Say what `scalenet run` would compute, why, and about how long that takes.

    Seconds are those of a stage's last run here, else those that `scalenet init` planned.

    \b
    scalenet status
    """
    from scalenet.pipeline import status

    total, unknown = 0.0, 0
    for stage in status.standings(Path.cwd()):
        known = stage.seconds != status.UNKNOWN
        if stage.busy:
            click.echo(f"{stage.name:14} is computed now")
            continue
        if not stage.reasons:
            click.echo(f"{stage.name:14} up to date")
            continue
        total += stage.seconds if known else 0.0
        unknown += not known
        cost = f"{stage.seconds / 60:5.1f} min" if known else "    ? min"
        more = f" and {len(stage.reasons) - MOST} more" if len(stage.reasons) > MOST else ""
        click.echo(f"{stage.name:14} {cost}  {', '.join(stage.reasons[:MOST])}{more}")
    if total or unknown:
        untimed = f" and {unknown} stages that were never timed" if unknown else ""
        click.echo(f"in all {total / 60:.1f} minutes, one after the other{untimed}")
