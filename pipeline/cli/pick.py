"""``scalenet pick``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from scalenet.pipeline.cli import InProject, Number, quantity, tell_if_other, unless_away

MEASURED = "one image, one CPU thread of this machine"


@click.command(name="pick", cls=InProject)
@click.option("--max-flops", callback=quantity, metavar="FLOPS", help="Such as 2M.")
@click.option("--max-params", callback=quantity, metavar="COUNT", help="Such as 100k.")
@click.option(
    "--max-ms",
    type=Number(min=0, min_open=True),
    metavar="MS",
    help=f"Of {MEASURED}.",
)
@click.option(
    "--max-device-ms",
    type=Number(min=0, min_open=True),
    metavar="MS",
    help="Of one image on the device that budgets in milliseconds are for.",
)
@click.option("--min-accuracy", type=Number(0, 1), metavar="SHARE", help="On select, such as 0.9.")
@click.option("--alias", metavar="NAME", help="Point this alias of the registered model at it.")
def command(
    max_flops: float | None,
    max_params: float | None,
    max_ms: float | None,
    max_device_ms: float | None,
    min_accuracy: float | None,
    alias: str | None,
) -> None:
    """Choose a member to deploy: the most accurate on select within limits.

    \b
    scalenet pick --max-flops 2M
    scalenet pick --max-ms 3 --max-params 100k --min-accuracy 0.9 --alias production
    """
    from scalenet.config import params as config
    from scalenet.laws.choice import Limits, choose
    from scalenet.pipeline.models import generations, registry
    from scalenet.records.paths import Paths

    if alias is not None:
        generations.check_alias(alias)
    root = Path.cwd()
    params, paths = config.load(root / "params.yaml"), Paths(root)
    family = paths.current()
    tell_if_other()
    limits = Limits(max_flops, max_params, max_ms, max_device_ms, min_accuracy)
    timed: dict[str, float] = {}

    def latency(trained: Any) -> float:
        return timed.setdefault(trained.member.name, _milliseconds(root, trained))

    choice = choose(family.members, limits, latency)
    for name, why in choice.refused.items():
        click.echo(f"not       {name}: it {why}")
    device = params.scaling.latency and params.scaling.latency.device
    click.echo(_why(choice.chosen, choice.within, limits != Limits(), device))
    if sentence := _alike(paths, choice, family.members):
        click.echo(f"alike     {sentence}")
    if count := len(family.warnings):
        click.echo(f"warnings  {count}: `scalenet family` shows them")
    if max_ms is not None:
        click.echo(f"latency   {timed[choice.chosen.member.name]:.2f} ms: {MEASURED}")
    name, model = choice.chosen.member.name, registry.model_name(params)
    if alias:
        version = generations.point(root, params, name, alias)
        click.echo(f"alias     {alias} is version {version} of {model} now")
        click.echo(f'load      mlflow.pyfunc.load_model("models:/{model}@{alias}")')
    else:
        with unless_away():
            click.echo(generations.load_line(root, params, name))
    click.echo(f"          scalenet predict {name.lower()} PHOTOS   scalenet export {name.lower()}")


def _why(trained: Any, within: int, limited: bool, device: str | None) -> str:
    from scalenet.records.written import percent

    member, limits = trained.member, " within the limits" if limited else ""
    others = f"the most of {within} members{limits}" if within > 1 else f"the only one{limits}"
    right = percent(trained.select.accuracy)
    named = f" ({device})" if device else ""
    spent = "" if member.latency is None else f", {member.latency:.3g} device ms{named}"
    return (
        f"picked    {member.name}: labels {right} of select right, {others}\n"
        f"          {member.flops:,} FLOPs, {member.params:,} parameters{spent}; test "
        f"{percent(trained.accuracy)} ({percent(trained.low)} to {percent(trained.high)})"
    )


def _alike(paths: Any, choice: Any, members: Any) -> str | None:
    """Say which smaller member within the limits is as good, as far as answers to select tell."""
    from scalenet.laws.verdict import alike
    from scalenet.records import predictions

    within = [t for t in members if t.member.name not in choice.refused]
    answers = {t.member.name: paths.member(t.member.name) / "predictions.npz" for t in within}
    if not all(path.exists() for path in answers.values()):
        return None  # a clone that pulled the family alone
    said = {name: predictions.read(path)[name] for name, path in answers.items()}
    return alike(choice.chosen, within, said)


def _milliseconds(root: Path, trained: Any) -> float:
    from scalenet.pipeline.models import program
    from scalenet.records.paths import Paths

    return program.latency(Paths(root), trained)
