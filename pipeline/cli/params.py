"""``scalenet params``."""

from __future__ import annotations

from pathlib import Path

import click

from scalenet.pipeline.cli import changes, overrides

MOST = 12  # changed keys that are listed


@click.command(name="params")
@changes
def command(preset: str | None, pairs: tuple[str, ...]) -> None:
    """Change params.yaml by a preset or single keys; its comments stay.

    A preset is complete: every key is its own or the default's, but for the sections data and
    compute, which stay yours unless the preset has them.

    In a folder without params.yaml it begins a project: the digits' params, dvc.yaml and DVC's
    files. After an upgrade it adds the keys that params.yaml lacks, with their defaults, and renews
    the stages of dvc.yaml there; your own stages stay.

    \b
    scalenet params --preset tiny
    scalenet params --set supernet.init=../other/artifacts/supernet/weights.pt
    scalenet params --set search.seed=1 --set family.S6='{multiple: 64, seed: 0}'
    """
    from scalenet.config.params import read_yaml
    from scalenet.pipeline import project, settings

    root = Path.cwd()
    if project.begin(root):
        click.echo("begun: params.yaml and dvc.yaml for the bundled digits")
    if renewed := project.renew(root):
        click.echo(renewed)
    before = read_yaml(root / "params.yaml")
    project.refresh(root)
    settings.apply(root, preset, overrides(pairs), fill=True)
    changed = list(settings.changed(before, read_yaml(root / "params.yaml")))
    for change in changed[:MOST]:
        click.echo(settings.line(*change))
    if changed[MOST:]:
        click.echo(f"and {len(changed) - MOST} more keys")
    if changed:
        click.echo("`scalenet status` says what that runs again")
    elif preset or pairs:
        click.echo("params.yaml is so already")
