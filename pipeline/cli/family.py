"""``scalenet family``."""

from __future__ import annotations

from pathlib import Path

import click

FIGURE = Path("report/family.svg")


@click.command(name="family")
def command() -> None:
    """Show the family that was built: a table, and a figure in report/family.svg.

    \b
    scalenet family
    scalenet family | head -3
    """
    from scalenet.config import params as config
    from scalenet.pipeline import registry
    from scalenet.records.documents import Family
    from scalenet.records.paths import Paths
    from scalenet.report import figure, table

    root = Path.cwd()
    params, paths = config.load(root / "params.yaml"), Paths(root)
    built = Family.read(paths.family / "family.json")
    figure.draw(built, root / FIGURE)
    click.echo(table.text(built, registry.versions(root, params)))
    for at in (built.law or {"next": []})["next"]:
        click.echo(table.prediction(at))
    click.echo(f"\nfigure    {FIGURE}")
    click.echo("results   scalenet ui      MLflow's runs, charts and registry; Prefect's flows")
    click.echo("plots     dvc plots show   dvc metrics show")
    click.echo(f'load      mlflow.pytorch.load_model("models:/{registry.model_name(params)}@s0")')
