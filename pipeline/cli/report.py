"""``scalenet report``."""

from __future__ import annotations

from pathlib import Path

import click

from scalenet.pipeline import locked
from scalenet.pipeline.cli import InProject, tell_if_other

FOLDER = "report"


@click.command(name="report", cls=InProject)
def command() -> None:
    """Write the report of the family: report/index.html, and its figures as SVG and PNG.

    The page is one file that opens offline: accuracy against cost, members, networks,
    laws, the search, mistakes, cost and provenance. `scalenet run` writes it too.

    \b
    scalenet report && open report/index.html
    """
    tell_if_other()
    root = Path.cwd()
    if stages := locked.made_anew(root):
        was = "were" if len(stages) > 1 else "was"
        raise ValueError(
            f"{' and '.join(stages)} {was} run again since the family was published, and a report "
            "would mix both; `scalenet run` makes the family of what lies here"
        )
    click.echo(f"report    {write(root)}")


def write(root: Path) -> Path:
    """Write the report of a project; return where its page lies, from there."""
    from scalenet.config import params as config
    from scalenet.pipeline.remember import remembered
    from scalenet.report import gathered, page

    params = config.load(root / "params.yaml")
    found = gathered.gather(root, remembered.remembered(root, params))
    made = page.write(found, root / FOLDER, remembered.scripts())
    remembered.log(root, params, made[0])
    return made[0].relative_to(root)
