"""``scalenet run``."""

from __future__ import annotations

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
def command(preset: str | None, pairs: tuple[str, ...], target: str | None) -> None:
    """Build the family: every stage that is not up to date.

    The same as `dvc repro`, as one Prefect flow, with stages side by side (compute.workers): both
    give the same bytes and each finds the other's work done. In an empty folder it begins the
    project of the digits first.

    \b
    scalenet run
    scalenet run --target search
    scalenet run --preset tiny --set search.population=4
    """
    from scalenet.pipeline import servers

    chosen = overrides(pairs)
    with servers.prefect():
        from scalenet.pipeline import flows  # seconds of imports, while the server starts

        code = flows.run_family(preset, chosen, target)
    raise SystemExit(code)
