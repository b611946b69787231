"""``scalenet clean``."""

from __future__ import annotations

from pathlib import Path

import click

from scalenet.pipeline.cli import InProject

KINDS = ("generations", "states", "workspaces", "leftovers")


@click.command(name="clean", cls=InProject)
@click.option("--yes", is_flag=True, help="Free what is shown.")
@click.option("--only", type=click.Choice(KINDS), help="One kind of it.")
def command(yes: bool, only: str | None) -> None:
    """Show what this project could do without, and its size; free it with --yes.

    Old generations of the registry, states that no stage goes on from, workspaces of scheduled runs
    that did not end well, leftovers of killed writes.
    What an alias points at, what is deployed and what was deployed before it stay. DVC's cache is
    not touched: `dvc gc --all-commits` frees what no commit names.

    \b
    scalenet clean
    scalenet clean --only leftovers --yes
    """
    from scalenet.pipeline import clean

    total = count = left = 0
    for kind, found in clean.found(Path.cwd(), only):
        if found:
            click.echo(kind)
        for item in found:
            why = item.free() if yes else ""
            click.echo(f"  {_short(item.size):>10}  {item.what}{f'; left: {why}' if why else ''}")
            left += bool(why)
            count, total = count + (not why), total + (0 if why else item.size)
    if not count:
        click.echo("nothing to free")
    elif yes:
        click.echo(f"freed {_short(total)}")
    else:
        scope = f"--only {only} " if only else ""
        click.echo(f"{_short(total)} in all; `scalenet clean {scope}--yes` frees it")
    raise SystemExit(1 if left else 0)


def _short(size: int) -> str:
    for unit, factor in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if size >= factor:
            return f"{size / factor:.1f} {unit}"
    return f"{size} B"
