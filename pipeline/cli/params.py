"""``scalenet params``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from scalenet.pipeline.cli import changes, overrides

MOST, LONGEST = 12, 40  # changed keys that are listed, letters of a value


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
    from scalenet.config.params import read_yaml
    from scalenet.pipeline import project, settings

    root = Path.cwd()
    if project.begin(root):
        click.echo("begun: params.yaml and dvc.yaml for the bundled digits")
    before = _flat(read_yaml(root / "params.yaml"))
    project.refresh(root)
    settings.apply(root, preset, overrides(pairs))
    after = _flat(read_yaml(root / "params.yaml"))
    changed = [key for key in after | before if before.get(key) != after.get(key)]
    for key in changed[:MOST]:
        click.echo(f"{key}: {before.get(key, 'none')} -> {after.get(key, 'none')}")
    if changed[MOST:]:
        click.echo(f"and {len(changed) - MOST} more keys")
    if changed:
        click.echo("`scalenet status` says what that runs again")
    elif preset or pairs:
        click.echo("params.yaml is so already")


def _flat(content: Mapping[str, Any], above: str = "") -> dict[str, str]:
    """Return nested keys as dotted ones, ``search.seed``, and their values on a line each."""
    flat: dict[str, str] = {}
    for key, value in content.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{above}{key}.")
        else:
            text = json.dumps(value, ensure_ascii=False)
            flat[f"{above}{key}"] = text if len(text) <= LONGEST else f"{text[:LONGEST]}…"
    return flat
