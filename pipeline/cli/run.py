"""``scalenet run``."""

from __future__ import annotations

from pathlib import Path

import click

from scalenet.pipeline import complete
from scalenet.pipeline.cli import changes, overrides


@click.command(name="run")
@changes
@click.option(
    "--target",
    metavar="STAGE",
    help="The last stage wanted, such as search or retrain@S2.",
    shell_complete=complete.target,
)
@click.option("--promote", is_flag=True, help="Deploy the family that it ends with, if not worse.")
def command(preset: str | None, pairs: tuple[str, ...], target: str | None, promote: bool) -> None:
    """Build the family: every stage that is not up to date. Then write its report.

    The same as `dvc repro`, as one Prefect flow, with stages side by side (compute.workers): both
    give the same bytes and each finds the other's work done. In an empty folder it begins the
    project of the digits first.

    \b
    scalenet run
    scalenet run --target search
    scalenet run --preset tiny --set search.population=4
    """
    if promote and target:
        raise ValueError("--promote was given with --target; a whole run ends with a family")
    from scalenet.pipeline import servers

    chosen = overrides(pairs)
    with servers.prefect():
        from scalenet.pipeline import flows  # seconds of imports, while the server starts

        code = flows.run_family(preset, chosen, target)
    if code == 0 and target in (None, "publish"):
        from scalenet.pipeline.cli import report

        click.echo(f"report    {report.write(Path.cwd())}")
    if code == 0 and target is None:
        _registered(promote)
    raise SystemExit(code)


def _registered(promote: bool) -> None:
    """Say which generation is deployed, the one that was built or another; deploy it if told."""
    from scalenet.config import params as config
    from scalenet.pipeline import deployment
    from scalenet.pipeline.cli.promote import deploy

    root = Path.cwd()
    params = config.load(root / "params.yaml")
    line = deployment.enter(root, params)  # a stage that DVC had made before registered nothing
    if promote:
        deploy(root, params, None, yes=False, insist=False)
        line = deployment.standing(root, params)
    click.echo(line)
