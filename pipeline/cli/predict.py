"""``scalenet predict``."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

import click

from scalenet.data.names import few, on_a_line, shown
from scalenet.pipeline import complete
from scalenet.pipeline.cli import InProject, tell_if_newer
from scalenet.records.written import counted, percent

BATCH = 64  # photographs that are computed at a time
COLUMNS = ("file", "rank", "class", "probability", "fault")


@click.command(name="predict", cls=InProject)
@click.argument("member", shell_complete=complete.member)
@click.argument("photos", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--top", default=3, show_default=True, help="Classes an image.")
@click.option("--csv", "table", type=click.Path(path_type=Path), help="Write a table, too.")
@click.option("--labelled", is_flag=True, help="Folders name classes: say how many are right.")
def command(
    member: str, photos: tuple[Path, ...], top: int, table: Path | None, labelled: bool
) -> None:
    """Name what is on photographs, with a member that was built here.

    Files and folders are read exactly as the images that it was trained on. Ends with 2 if an
    image cannot be read; the others are named all the same.

    \b
    scalenet predict s1 photo.jpg
    scalenet predict s1 photo.jpg folder/ --top 1 --csv out.csv
    scalenet predict s1 test/ --labelled      # test/cats/1.jpg is a cat: how many are right?

    Of images that it was trained on more are right than of others: --labelled counts those apart.
    """
    import scalenet
    from scalenet.data import photos as reading
    from scalenet.records.files import write_table
    from scalenet.records.paths import Paths

    if top < 1:
        raise ValueError(f"--top {top} was given; give 1 or more")
    if table == Path("-"):
        raise ValueError("--csv - was given; give the name of a file")
    if strange := reading.left_out(photos):
        named = few([path.name for path in strange])
        click.echo(f"left out, of no known kind: {named}; save images as JPEG or PNG", err=True)
    found = reading.files(photos)
    paths = Paths(Path.cwd())
    net, info = scalenet.load(Path.cwd(), member.upper()), paths.info()
    labels = _labels(found, photos, info.classes) if labelled else {}
    known = reading.contents(paths.data, _fitted(paths, member.upper())) if labelled else set()
    trained: set[Path] = set()
    tell_if_newer(member.upper())
    rows: list[tuple[Any, ...]] = []
    read = reading.read(found, info)
    while part := list(islice(read, BATCH)):
        rows += _said(net, part, info.classes, top)
        seen = (photo for photo in part if photo.pixels is not None)
        trained |= {photo.path for photo in seen if reading.among(photo, known)}
    if table:
        write_table(table, COLUMNS, ((shown(str(path)), *rest) for path, *rest in rows))
    if labelled:
        click.echo(_right(rows, labels, trained))
    failed = sum(bool(row[-1]) for row in rows)
    if failed:
        others = "; the others are above" if failed < len(found) else ""
        raise ValueError(f"{failed} of {counted(len(found), 'image')} could not be read{others}")


def _said(net: Any, photos: list[Any], classes: list[str], top: int) -> list[tuple[Any, ...]]:
    """Print what photographs show and return their rows."""
    import numpy as np

    import scalenet

    read = [photo.pixels for photo in photos if photo.pixels is not None]
    answers = iter(scalenet.predict(net, np.stack(read)) if read else [])
    rows: list[tuple[Any, ...]] = []
    for photo in photos:
        if photo.pixels is None:
            click.echo(f"{on_a_line(shown(str(photo.path)))}  cannot be read: {photo.fault}")
            rows.append((photo.path, "", "", "", photo.fault))
            continue
        chances = next(answers)
        best = np.argsort(-chances, kind="stable")[:top]  # of equals the first, as in training
        names = "  ".join(f"{classes[i]} {percent(chances[i])}" for i in best)
        click.echo(f"{on_a_line(shown(str(photo.path)))}  {names}")
        rows += [
            (photo.path, rank, classes[i], f"{chances[i]:.5f}", "")
            for rank, i in enumerate(best, start=1)
        ]
    return rows


def _labels(
    found: list[Path], places: tuple[Path, ...], classes: list[str]
) -> dict[Path, str | None]:
    """Return the class that a photograph's folders name, before any is looked at; ``ValueError``
    names folders of those of which none is a class."""
    labels = {path: _label(path, places, set(classes)) for path in found}
    if unknown := sorted({_folder(path) for path, label in labels.items() if label is None}):
        raise ValueError(
            f"--labelled was given, but {few(unknown)} {'is' if len(unknown) == 1 else 'are'} no "
            f"class; the member knows {few(classes)}: sort the images into folders of these names"
        )
    return labels


def _label(path: Path, places: tuple[Path, ...], classes: set[str]) -> str | None:
    """Return the first class among folders from a given one down, as images to train on are
    labelled, or else from it up; None if there is none."""
    given = [place for place in places if place.is_dir() and path.is_relative_to(place)]
    top = given[0] if given else path.parent
    parts = (*path.relative_to(top).parts[:-1], *reversed(top.absolute().parts))
    return next((name for name in map(shown, parts) if name in classes), None)


def _folder(path: Path) -> str:
    return shown(path.absolute().parent.name)


def _fitted(paths: Any, member: str) -> tuple[str, ...]:
    """Return the splits that a member was trained on: select too, if nothing is said of it."""
    return ("train",) if paths.trained(member).select else ("train", "select")


def _right(rows: list[tuple[Any, ...]], labels: dict[Path, str | None], trained: set[Path]) -> str:
    """Return how many photographs are what their folders say; unreadable ones do not count.

    Where it was ``trained`` on some of them, how many of the others are, too.
    """
    firsts = [row for row in rows if row[1] == 1]
    said = f"labelled by folder: {_share(firsts, labels)}"
    if not trained:
        return said
    others = [row for row in firsts if row[0] not in trained]
    rest = f", of the others {_share(others, labels)}" if others else ""
    return f"{said}; it was trained on {len(firsts) - len(others):,} of them{rest}"


def _share(firsts: list[tuple[Any, ...]], labels: dict[Path, str | None]) -> str:
    right = sum(labels[row[0]] == row[2] for row in firsts)
    share = f"{percent(right / len(firsts))} of " if firsts else ""
    return f"{share}{len(firsts):,} right ({right:,})"
