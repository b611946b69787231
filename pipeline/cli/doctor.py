"""``scalenet doctor``."""

from __future__ import annotations

from pathlib import Path

import click


@click.command(name="doctor")
@click.option("--deep", is_flag=True, help="Also read every byte of DVC's cache.")
@click.option("--mend", is_flag=True, help="With --deep: set aside what is damaged.")
def command(deep: bool, mend: bool) -> None:
    """Look at the machine, the project and its servers; say what should be mended, and how.

    Ends with 1 if there is something to mend.

    \b
    scalenet doctor
    scalenet doctor --deep --mend
    """
    if mend and not deep:
        raise ValueError("--mend was given without --deep; give both")
    from scalenet.pipeline import doctor

    wrong = 0
    for finding in doctor.examine(Path.cwd(), deep, mend):
        wrong += bool(finding.remedy)
        click.echo(f"{'mend' if finding.remedy else 'ok  '}  {finding.what}")
        if finding.remedy:
            click.echo(f"      {finding.remedy}")
    raise SystemExit(1 if wrong else 0)
