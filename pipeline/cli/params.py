"""``scalenet params``."""

from __future__ import annotations

from pathlib import Path

import click

from scalenet.pipeline.cli import changes, overrides


@click.command(name="params")
@changes
def command(preset: str | None, pairs: tuple[str, ...]) -> None:
    """Change params.yaml by a preset or single keys; its comments stay.

    A preset is complete: every key is its own or the default's, but for the sections data and
    compute, which stay yours unless the preset has them.

    In a folder without params.yaml it begins a project: the digits' params, dvc.yaml and DVC's
    files.

    \b
    scalenet params --preset tiny
    scalenet params --set supernet.init=../other/artifacts/supernet/weights.pt
    scalenet params --set search.seed=1 --set family.S6='{multiple: 64, seed: 0}'
    """
    from scalenet.pipeline import project, settings

    root = Path.cwd()
    project.begin(root)
    project.refresh(root)
    settings.apply(root, preset, overrides(pairs), click.echo)
