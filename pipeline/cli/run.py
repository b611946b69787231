"""``scalenet run``."""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from scalenet.pipeline import LEAST, UNAVAILABLE, complete, make_prefect_home
from scalenet.pipeline.cli import changes, overrides
from scalenet.pipeline.watch.progress import Progress

FEW = 3  # edited params that a line names
NOT_PROMOTED = (
    "not promoted: MLflow is away; `scalenet register && scalenet promote` once it is back"
)


@click.command(name="run")
@changes
@click.option(
    "--target",
    metavar="STAGE",
    help="The last stage wanted, such as search or retrain@S2.",
    shell_complete=complete.target,
)
@click.option("--promote", is_flag=True, help="Deploy the family that it ends with, if not worse.")
@click.option("--quiet", "-q", is_flag=True, help="Print errors and the last line alone.")
def command(
    preset: str | None, pairs: tuple[str, ...], target: str | None, promote: bool, quiet: bool
) -> None:
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
    from scalenet.stages import check_limit

    check_limit(LEAST)
    make_prefect_home()
    from scalenet.pipeline import project, settings
    from scalenet.pipeline.doors import servers
    from scalenet.pipeline.watch import lines

    chosen, progress = overrides(pairs), Progress()
    project.begin_if_empty(Path.cwd())
    project.check_stages(Path.cwd())
    settings.check(Path.cwd(), preset, chosen, target)
    try:
        with _told(progress, quiet), servers.prefect():
            from scalenet.pipeline.runs import flows  # seconds of imports, while the server starts

            code = flows.run_family(progress, preset, chosen, target)
        if code == 0 and target in (None, "publish"):
            code = _published(progress.away, target is None, promote, quiet)
    finally:
        if progress.works:
            print(lines.summary(progress), flush=True)
    if servers.GONE.is_set():
        sys.stderr.flush()
        os._exit(code)  # Prefect's threads would wait for its server, for each thing to tell it
    if "colorama" in sys.modules:  # tqdm begins it, and it would end with a control sequence
        atexit.unregister(sys.modules["colorama"].initialise.reset_all)
    raise SystemExit(code)


@contextmanager
def _told(progress: Progress, quiet: bool) -> Iterator[None]:
    """Show the run while the body runs: in place on a terminal, in lines elsewhere."""
    from scalenet.pipeline.runs import single
    from scalenet.pipeline.watch import display, lines

    if quiet:
        yield
    elif display.wanted(sys.stderr):
        with display.drawn(progress):
            yield
    else:
        progress.listeners.append(lines.Lines(single.print_line))
        yield


def _published(away: bool, registering: bool, promote: bool, quiet: bool) -> int:
    """Write the report of the family and register it, unless MLflow is away, as was said; return
    the exit code."""
    from scalenet.pipeline.cli import report

    root = Path.cwd()
    if away:
        said = ["not yet a report: `scalenet register && scalenet report` once MLflow is back"]
    else:
        said = [f"report    {report.write(root)}", *_edited(root)]
        said += [_registered(root, promote)] if registering else []
    if not quiet:
        click.echo("\n".join(said))
    if away and promote:
        click.echo(NOT_PROMOTED, err=True)
    return UNAVAILABLE if away and promote else 0


def _edited(root: Path) -> list[str]:
    """Say which params were edited after the stages that depend on them had run."""
    from scalenet.config import params as config
    from scalenet.config.explain import some
    from scalenet.pipeline import locked, settings

    now = config.load(root / "params.yaml")
    used = locked.params(root, now)
    found = settings.changed(used.model_dump(mode="json"), now.model_dump(mode="json"))
    if not (changed := [settings.line(*change) for change in found]):
        return []
    return [f"edited    {some(changed, FEW)}: too late for this run, `scalenet run` takes it up"]


def _registered(root: Path, promote: bool) -> str:
    """Register the family and deploy it if told; return a line on which generation is deployed."""
    from scalenet.config import params as config
    from scalenet.pipeline.cli.promote import deploy
    from scalenet.pipeline.models import deployment

    params = config.load(root / "params.yaml")
    line = deployment.enter(root, params)  # a stage that DVC had made before registered nothing
    if not promote:
        return line
    deploy(root, params, None, yes=False, insist=False)
    return deployment.standing(root, params)
