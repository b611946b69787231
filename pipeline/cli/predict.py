"""``scalenet predict``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from scalenet.pipeline.cli import InProject

COLUMNS = ("file", "rank", "class", "probability", "fault")


@click.command(name="predict", cls=InProject)
@click.argument("member")
@click.argument("photos", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--top", default=3, show_default=True, help="Classes an image.")
@click.option("--csv", "table", type=click.Path(path_type=Path), help="Write a table, too.")
def command(member: str, photos: tuple[Path, ...], top: int, table: Path | None) -> None:
    """Name what is on photographs, with a member that was built here.

    Files and folders are read exactly as the images that it was trained on. Ends with 2 if an
    image cannot be read; the others are named all the same.

    \b
    scalenet predict s1 photo.jpg
    scalenet predict s1 photo.jpg folder/ --top 1 --csv out.csv
    """
    import scalenet
    from scalenet.data import photos as reading
    from scalenet.records.files import write_table
    from scalenet.records.paths import Paths

    if top < 1:
        raise ValueError(f"--top {top} was given; give 1 or more")
    found = reading.files(photos)
    net, info = scalenet.load(Path.cwd(), member.upper()), Paths(Path.cwd()).info()
    rows: list[tuple[Any, ...]] = []
    for photo in reading.read(found, info):
        rows += _said(net, photo, info.classes, top)
    if table:
        write_table(table, COLUMNS, rows)
    failed = sum(bool(row[-1]) for row in rows)
    if failed:
        raise ValueError(f"{failed} of {len(found)} images could not be read; the others are above")


def _said(net: Any, photo: Any, classes: list[str], top: int) -> list[tuple[Any, ...]]:
    """Print what one photograph shows and return its rows."""
    import scalenet

    if photo.pixels is None:
        click.echo(f"{photo.path}  cannot be read: {photo.fault}")
        return [(photo.path, "", "", "", photo.fault)]
    [chances] = scalenet.predict(net, photo.pixels[None])
    best = chances.argsort()[::-1][:top]
    names = "  ".join(f"{classes[i]} {chances[i]:.1%}" for i in best)
    click.echo(f"{photo.path}  {names}")
    return [
        (photo.path, rank, classes[i], f"{chances[i]:.6f}", "")
        for rank, i in enumerate(best, start=1)
    ]
