"""``scalenet promote``."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import click

from scalenet.pipeline.cli import InProject, tell_if_other


@click.command(name="promote", cls=InProject)
@click.argument("generation", required=False)
@click.option("--yes", is_flag=True, help="Answer yes to what would be asked.")
@click.option("--even-if-worse", "insist", is_flag=True, help="Also if a size is worse.")
@click.option("--back", is_flag=True, help="Undo the last promotion that is not undone yet.")
@click.option("--list", "listed", is_flag=True, help="Show the generations, oldest first.")
def command(generation: str | None, yes: bool, insist: bool, back: bool, listed: bool) -> None:
    """Deploy a generation: move the aliases s0, s1, … to its versions, all at once.

    GENERATION is the one that lies here by default. It is refused if a member is no good, or if a
    size is worse on select than what is deployed. --back again goes one promotion further back.

    \b
    scalenet promote
    scalenet promote 3fa9c1d2 --yes
    scalenet promote --back
    """
    from scalenet.config import params as config

    if sum(map(bool, (generation, back, listed))) > 1:
        raise ValueError("give one of GENERATION, --back and --list")
    root = Path.cwd()
    params = config.load(root / "params.yaml")
    if listed:
        _list(root, params)
    elif back:
        _back(root, params)
    else:
        if generation is None:
            tell_if_other()
        deploy(root, params, generation, yes, insist)


def deploy(root: Path, params: Any, name: str | None, yes: bool, insist: bool) -> None:
    """Say what deploying a generation changes, ask what is to be asked, and do it."""
    from scalenet.pipeline.models import deployment, generations, promotion
    from scalenet.pipeline.remember import stores

    found, client = promotion.plan(root, params, name), stores.connect(root)
    if found.aliases == found.target:
        standing = f"generation {found.generation} is deployed already"
        click.echo("; ".join([standing, *found.faults]))
        return
    instead, _ = deployment.promoted(client, found.model)
    other = f" instead of {instead}" if instead not in ("", found.generation) else ""
    click.echo(f"generation {found.generation}{other}")
    for cells in _table([_row(client, change) for change in found.changes]):
        click.echo(cells)
    promotion.check(found, insist)
    for question in found.questions:
        _ask(question, yes)
    deployment.apply(root, found)
    click.echo(f"deployed    {' '.join(found.target)}; `scalenet promote --back` undoes it")
    here = generations.here(root) == found.generation
    for alias, version in deployment.strays(client, found):
        click.echo(f"alias       {_stray(client, found, alias, version, here)}")


def _stray(client: Any, found: Any, alias: str, version: Any, here: bool) -> str:
    """Return what is said of a user's alias that points at another generation."""
    member = version.tags.get("member", "")
    generation = version.tags.get("generation", "none")
    what = f"{member} of generation {generation}" if member else "which is no member"
    same = next((c.after for c in found.changes if c.member == member and c.after), None)
    flops = f"--max-flops {_numbers(client, same)['flops']:.0f} " if same else ""
    where = "" if here else ", where that family lies,"
    return (
        f"{alias} stays at version {version.version}, {what}; "
        f"`scalenet pick {flops}--alias {alias}`{where} moves it"
    )


def _ask(question: str, yes: bool) -> None:
    """Have a question answered; ``ValueError`` if the answer is no, or nobody is there."""
    if yes:
        click.echo(f"yes         {question}")
    elif not sys.stdin.isatty():
        raise ValueError(f"{question}; this is no terminal to ask in: give --yes to deploy it")
    elif not click.confirm(f"{question}. Deploy it?"):
        raise ValueError("the aliases stay as they are")


def _row(client: Any, change: Any) -> tuple[str, ...]:
    """Return the cells of a size: versions, accuracy on select, its difference, FLOPs."""
    from scalenet.pipeline.models import promotion

    sides = [version for version in (change.before, change.after) if version]
    numbers = [_numbers(client, version) for version in sides]
    select = [f"{100 * n['select']:.1f}" if "select" in n else "–" for n in numbers]
    flops = [f"{n['flops']:,.0f}" if "flops" in n else "–" for n in numbers]
    if not change.before or not change.after:
        verdict = "leaves" if change.before else "joins"
    elif change.difference:
        verdict = promotion.points(change.difference)
    else:
        verdict = "not compared" if change.obstacle else "the same weights"
    return (
        change.member,
        f"version {_arrow([str(version.version) for version in sides])}",
        f"select {_arrow(select)} %",
        verdict,
        f"{_arrow(flops)} FLOPs",
    )


def _arrow(values: list[str]) -> str:
    """Return a value before and after, once if it stays."""
    return " → ".join(dict.fromkeys(values))


def _numbers(client: Any, version: Any) -> dict[str, float]:
    from scalenet.pipeline.models import evidence

    return evidence.numbers(client, version)


def _table(rows: list[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]


def _back(root: Path, params: Any) -> None:
    from scalenet.pipeline.models import deployment

    present, undone = deployment.back(root, params)
    before = undone["before"]
    click.echo(f"undone      the promotion of {undone['generation']} at {undone['at']}")
    for alias in sorted({*present, *before}, key=lambda alias: int(alias[1:])):
        at, to = present.get(alias), before.get(alias)
        if at != to:
            versions = " → ".join(version or "none" for version in (at, to))
            click.echo(f"{alias:12}version {versions}")
    click.echo(f"deployed    generation {undone['instead'] or 'of before there were any'}")


def _list(root: Path, params: Any) -> None:
    from scalenet.pipeline.models import deployment, evidence, generations, registry
    from scalenet.pipeline.remember import stores

    client, model = stores.connect(root), registry.model_name(params)
    found, here = generations.known(client, model), generations.here(root)
    if not found:
        raise ValueError(f"{model} has no generation yet; `scalenet run` or `scalenet register`")
    deployed, moved = deployment.promoted(client, model)
    mark = f"deployed, but {moved}" if moved else "deployed"
    for generation in found.values():
        marks = [mark] * (generation.name == deployed)
        marks += ["lies here"] * (generation.name == here)
        lost = [member for member, v in generation.versions.items() if evidence.gone(client, v)]
        marks += [f"without the program of {', '.join(lost)}"] * bool(lost)
        since = time.strftime("%Y-%m-%d %H:%M", time.localtime(generation.since / 1000))
        about = deployment.spanned(generation)
        click.echo(f"{generation.name}  {since}  {about}  {', '.join(marks)}".rstrip())
