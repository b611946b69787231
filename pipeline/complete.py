"""What a shell may complete: members, stages, presets and keys of the project that it is in.

Nothing is imported that takes long: a shell asks at every press of the key.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from scalenet.pipeline import comments

PARAMS = Path("params.yaml")
PRESETS = (Path(__file__).parents[1] / "presets", Path("presets"))
STAGES = ("prepare", "supernet", "search", "extrapolate", "retrain", "baselines", "publish")


def _content() -> dict[str, Any]:
    """Return the project's params, unchecked; nothing where there are none that can be read."""
    from scalenet.config import yamlfile

    try:
        return yamlfile.read(PARAMS)
    except ValueError:  # a shell that completes has nobody to tell; the verb itself will say it
        return {}


def _family() -> list[str]:
    family = _content().get("family")
    return list(family) if isinstance(family, dict) else []


def member(context: click.Context, option: click.Parameter, begun: str) -> list[str]:
    """Complete a member of the family: s0, or S0 if it begins so."""
    names = _family() if begun[:1].isupper() else [name.lower() for name in _family()]
    return [name for name in names if name.startswith(begun)]


def stage_member(context: click.Context, option: click.Parameter, begun: str) -> list[str]:
    """Complete the member of ``scalenet stage retrain``."""
    return [name for name in _family() if name.startswith(begun.upper())]


def stage(context: click.Context, option: click.Parameter, begun: str) -> list[str]:
    """Complete a stage."""
    return [name for name in STAGES if name.startswith(begun)]


def target(context: click.Context, option: click.Parameter, begun: str) -> list[str]:
    """Complete a stage, or one of a member: retrain@S2."""
    names = [*STAGES, *(f"retrain@{name}" for name in _family())]
    return [name for name in names if name.startswith(begun)]


def preset(context: click.Context, option: click.Parameter, begun: str) -> list[str]:
    """Complete a preset, the project's own or the package's."""
    names = {file.stem for folder in PRESETS for file in folder.glob("*.yaml")}
    return sorted(name for name in names if name.startswith(begun))


def key(context: click.Context, option: click.Parameter, begun: str) -> list[CompletionItem]:
    """Complete KEY=VALUE to a key with its present value; its meaning is the help."""
    return [item for item in _keys() if item.value.startswith(begun)]


def _keys() -> Iterator[CompletionItem]:
    content = _content()
    said = comments.meanings(PARAMS.read_text(encoding="utf-8")) if content else {}
    for name, value in comments.leaves(content):
        simple = isinstance(value, int | float | str)
        text = str(value).lower() if isinstance(value, bool) else str(value)
        help_text = said.get(name, "").partition(";")[0]
        yield CompletionItem(f"{name}={text if simple else ''}", help=help_text or None)
