"""``scalenet family``."""

from __future__ import annotations

from pathlib import Path

import click

from scalenet.pipeline.cli import InProject

FIGURE, CONFUSION = Path("report/family.svg"), Path("report/confusion.svg")


@click.command(name="family", cls=InProject)
def command() -> None:
    """Show the family that was built: its members, what they should beat, and warnings.

    The figures go to report/: family.svg, and confusion.svg where there are at most 40 classes.

    \b
    scalenet family
    scalenet family | head -3
    """
    from scalenet.config import params as config
    from scalenet.pipeline import deployment, generations
    from scalenet.records import files
    from scalenet.records.paths import Paths
    from scalenet.report import confusion, figure, table

    root = Path.cwd()
    params, paths = config.load(root / "params.yaml"), Paths(root)
    built = paths.published()
    figure.draw(built, root / FIGURE)
    versions = generations.versions(root, params)
    click.echo(table.text(built, versions))
    for at in (built.law or {"next": []})["next"]:
        click.echo(table.prediction(at))
    click.echo(f"\n{table.baselines(built)}")
    for line in table.warnings(built):
        click.echo(line)
    counts = confusion.read(paths.family / "confusion.csv")
    drawn = confusion.svg(built, paths.info().classes, counts)
    if drawn:
        files.write_bytes(root / CONFUSION, drawn.encode())
    click.echo(f"\nfigure    {FIGURE}{f'   {CONFUSION}' if drawn else ''}")
    click.echo("classes   artifacts/family/recall.csv   artifacts/family/confusion.csv")
    if len(versions) == len(built.members):
        click.echo(f"registry  {deployment.standing(root, params)}")
    click.echo("results   scalenet ui      MLflow's runs, charts and registry; Prefect's flows")
    click.echo("plots     dvc plots show   dvc metrics show")
    name = built.members[0].member.name
    click.echo(f'load      mlflow.pyfunc.load_model("{generations.address(root, params, name)}")')
