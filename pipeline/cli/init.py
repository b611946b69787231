"""``scalenet init``."""

from __future__ import annotations

import os

import click

from scalenet.pipeline.cli import quantity


@click.command(name="init")
@click.argument("data")
@click.argument("name", required=False)
@click.option(
    "--minutes",
    type=click.FloatRange(min=0, min_open=True),
    default=30,
    show_default=True,
    help="What a whole run may take on this machine.",
)
@click.option(
    "--max-flops", callback=quantity, metavar="FLOPS", help="Of the largest member, such as 2M."
)
@click.option(
    "--size", type=click.IntRange(8, 512), metavar="PX", help="Stored side of the images."
)
@click.option("--yes", is_flag=True, help="Start the run at once.")
def command(
    data: str,
    name: str | None,
    minutes: float,
    max_flops: float | None,
    size: int | None,
    yes: bool,
) -> None:
    """Begin a project for DATA: labelled images in a folder, an archive, or `digits`.

    It looks at the images, times a few steps of training here, writes the folder NAME with a
    params.yaml that fits both, and prints the plan.

    \b
    scalenet init photos.tar
    scalenet init photos/ my-family --minutes 60 --yes
    scalenet init digits --minutes 5 --max-flops 2M
    """
    from scalenet.pipeline.init import begin
    from scalenet.pipeline.init.design import Wish

    root = begin.folder(data, name)
    wish = Wish(root.resolve().name, minutes, max_flops, size)
    for line in begin.project(root, data, wish):
        click.echo(line)
    if yes:
        os.chdir(root)
        from scalenet.pipeline.cli import run

        click.get_current_context().invoke(run.command)
    click.echo(f"Next      cd {root} && scalenet run")
