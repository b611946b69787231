"""``scalenet latency``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from scalenet.pipeline.cli import Number

if TYPE_CHECKING:
    from scalenet.config.params import Params

CLASSES = 10  # of the networks that are timed; a class more is a few multiply-accumulates


@click.command(name="latency")
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    default="latency.yaml",
    show_default=True,
    metavar="FILE",
    help="Where it is written.",
)
@click.option("--name", metavar="DEVICE", help="The device's name (default: its processor's).")
@click.option(
    "--threads",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    metavar="COUNT",
    help="CPU threads of a network.",
)
@click.option(
    "--seconds",
    type=Number(min=0),
    default=30,
    show_default=True,
    metavar="SECONDS",
    help="At least 5 rounds are timed, however long they take.",
)
def command(out: Path, name: str | None, threads: int, seconds: float) -> None:
    """Measure what the layers of networks take on this machine, for budgets in milliseconds.

    Networks of the space in params.yaml are timed, one image each, as they are deployed; in a
    folder without it, of the space for photographs. Rates that do not tell what other networks
    take are refused.

    \b
    scalenet latency --out phone.yaml --name "my phone"
    scalenet init photos.tar --latency phone.yaml --max-ms 30
    scalenet params --set scaling.latency=phone.yaml      # new rates of a project of milliseconds
    """
    from scalenet.data.cores import cores
    from scalenet.pipeline import devices

    devices.check_place(out)
    if threads > cores():
        raise ValueError(f"--threads {threads}: this process may use {cores()} at once; give fewer")
    from scalenet.pipeline.init.timing import UNSEEN  # seconds of imports, after cheap refusals
    from scalenet.space.network import Task

    params = _params(Path("params.yaml"))
    click.echo(f"Timing    networks of one image, as they are deployed: {seconds:g} s or more")
    latency, trial = devices.measure(
        params, Task(params.data.channels, CLASSES), name, threads, seconds
    )
    devices.write(out, latency)
    low, high = trial.milliseconds
    click.echo(f"Device    {latency.device}")
    click.echo(f"Tried     on {UNSEEN} other networks of {low:.3g} to {high:.3g} ms: off by")
    click.echo(f"          {trial.error:.1%} (median), in their order with tau {trial.tau:.2f};")
    click.echo(f"          timed twice, {trial.noise:.1%} and {trial.noise_tau:.2f};")
    click.echo(f"          FLOPs put them in order with tau {trial.flops_tau:.2f}")
    click.echo(f"Written   {out}")
    if params.scaling.measure == "latency":
        click.echo(f"Next      scalenet params --set scaling.latency={out}")
    else:
        click.echo(f"Next      scalenet init PHOTOS NAME --latency {out}")


def _params(own: Path) -> Params:
    """Return the project's params; in a folder without any, those for photographs."""
    from scalenet.config import params as config
    from scalenet.config.defaults import DEFAULTS, PRESETS
    from scalenet.pipeline import settings

    if own.exists():
        return config.load(own)
    content = config.read_yaml(DEFAULTS)
    settings.merge(content, config.read_yaml(PRESETS / "photographs.yaml"))
    return config.parse(content)
