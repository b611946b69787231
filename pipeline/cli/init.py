"""``scalenet init``."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Any

import click

from scalenet.pipeline.cli import Number, quantity

INSIDE = "-"  # stands for the columns of files that hold the images
BUNDLED = ("digits", "data/digits")  # names of the images that scikit-learn brings


@click.command(name="init")
@click.argument("data")
@click.argument("name", required=False)
@click.option(
    "--minutes",
    type=Number(min=0, min_open=True),
    default=30,
    show_default=True,
    metavar="MINUTES",
    help="What a whole run may take on this machine.",
)
@click.option(
    "--max-flops", callback=quantity, metavar="FLOPS", help="Of the largest member, such as 2M."
)
@click.option(
    "--max-ms",
    type=Number(min=0, min_open=True),
    metavar="MS",
    help="Of the largest member, one image; budgets are milliseconds then.",
)
@click.option(
    "--latency",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="What `scalenet latency` wrote on the device that the budgets are for; without it, with "
    "--max-ms, this machine is measured.",
)
@click.option(
    "--size", type=click.IntRange(8, 512), metavar="PX", help="Stored side of the images."
)
@click.option(
    "--pretrained",
    nargs=2,
    metavar="FILE MODEL",
    help="Weights of a network that timm knows: transfer learning as one more baseline.",
)
@click.option(
    "--no-residual",
    "residual",
    flag_value=False,
    default=True,
    help="Measure against no residual networks: their half of the work goes to the members.",
)
@click.option(
    "--start",
    type=click.Path(exists=True, file_okay=False),
    metavar="PROJECT",
    help="A folder of a project on more images, whose trained super-supernet this one's starts "
    "from, with its space and sizes.",
)
@click.option(
    "--table",
    nargs=3,
    metavar="FILE PATH LABEL",
    help="A table in DATA, and its columns of paths and classes; FILE - is for Parquet files and "
    "data sets with the images inside: their own columns.",
)
@click.option("--split", metavar="COLUMN", help="The table's column of splits.")
@click.option("--group", metavar="COLUMN", help="Its column of what must not be torn apart.")
@click.option(
    "--most-skipped",
    type=Number(0, 1),
    metavar="SHARE",
    help="Of the files, such as 0.05, that may be left out since they cannot be read.",
)
@click.option("--yes", is_flag=True, help="Start the run at once.")
def command(data: str, name: str | None, yes: bool, **wished: Any) -> None:
    """Begin a project for DATA: labelled images in a folder, an archive, or `digits`.

    It looks at the images, times a few steps of training here, writes the folder NAME with a
    params.yaml that fits both, and prints the plan.

    \b
    scalenet init photos.tar
    scalenet init photos/ my-family --minutes 60 --yes
    scalenet init digits --minutes 5 --max-flops 2M
    scalenet init photos.tar --latency phone.yaml --max-ms 30
    scalenet init photos/ --pretrained resnet18.pth resnet18
    scalenet init photos/ --start ../more-photos
    scalenet init birds/ --table labels.csv file species --group bird
    scalenet init cifar100/ --table - img fine_label
    """
    if data not in BUNDLED and not Path(data).exists():  # before seconds of imports
        raise ValueError(
            f"{data} does not exist; give a folder or an archive with a folder of images for each "
            "class, or `digits`"
        )
    click.echo(f"Looking   at the images of {data}")
    from scalenet.pipeline.init import begin
    from scalenet.pipeline.init.drafts import Wish

    root = begin.folder(data, name)
    if wished["pretrained"]:
        wished["pretrained"] = _weights(*wished["pretrained"])
    skipped = wished.pop("most_skipped")
    wished["reading"] = _reading(*(wished.pop(name) for name in ("table", "split", "group")))
    wished["reading"] |= {} if skipped is None else {"most_skipped": skipped}
    if wished["start"]:
        wished["start"] = _start(wished, root)
    device = wished.pop("latency")
    if wished["max_flops"] and (device or wished["max_ms"]):
        raise ValueError(
            "--max-flops was given with --latency or --max-ms, which make budgets milliseconds; "
            "give --max-ms for the largest member's, or --max-flops alone"
        )
    if device:
        from scalenet.pipeline.devices import read

        wished["device"] = read(device)
    wish = Wish(root.resolve().name, **wished)
    for line in begin.project(root, data, wish):
        click.echo(line)
    if yes:
        os.chdir(root)
        from scalenet.pipeline.cli import run

        click.get_current_context().invoke(run.command)
    click.echo(f"Next      cd {shlex.quote(str(root))} && scalenet run")


def _weights(file: str, model: str) -> tuple[str, str]:
    """Return where weights are, from anywhere; ``ValueError`` if there is no such file."""
    path = Path(file).resolve()
    if not path.is_file():
        raise ValueError(f"--pretrained {file}: no such file; give weights that you have")
    return str(path), model


def _start(wished: dict[str, Any], root: Path) -> Any:
    """Return the project that is started from; ``ValueError`` if it cannot be, or if what it
    decides was given too."""
    from scalenet.pipeline.init import start

    for name in ("size", "latency", "max_flops", "max_ms"):
        if wished[name] is not None:
            raise ValueError(
                f"--{name.replace('_', '-')} was given with --start, whose project decides the "
                "stored size and the budgets; leave one of the two out"
            )
    return start.read(wished["start"], root)


def _reading(table: tuple[str, ...] | None, split: str | None, group: str | None) -> dict[str, Any]:
    """Return the keys of ``data`` that say how a table is read."""
    if "" in (*(table or ()), split, group):
        raise ValueError(
            "--table, --split, --group: '' was given; name a file and columns, or leave the option "
            "out (--table - IMAGE LABEL: columns of files with the images inside)"
        )
    if table is None:
        if split or group:
            raise ValueError("--split and --group name columns of a table: give --table too")
        return {}
    file, path, label = table
    names = {
        "file": None if file == INSIDE else file,
        "path": path,
        "label": label,
        "split": split,
        "group": group,
    }
    return {"table": names}
