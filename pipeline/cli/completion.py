"""``scalenet completion``."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

SHELLS = ("bash", "zsh", "fish")


@click.command(name="completion")
@click.argument("shell", type=click.Choice(SHELLS))
def command(shell: str) -> None:
    """Print what makes a SHELL complete verbs, options, members, stages, presets and keys.

    \b
    eval "$(scalenet completion bash)"               # in ~/.bashrc
    eval "$(scalenet completion zsh)"                # in ~/.zshrc
    scalenet completion fish > ~/.config/fish/completions/scalenet.fish
    """
    group = click.get_current_context().find_root().command
    click.echo(get_completion_class(shell)(group, {}, "scalenet", "_SCALENET_COMPLETE").source())
