"""Stage 1: labelled images become three splits of bytes; only what is tested once reads test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

from scalenet.data import contact, readers, store, summary
from scalenet.data.source import Source
from scalenet.data.splits import Cut, Splits, cut, moments
from scalenet.records import files
from scalenet.records.documents import DataInfo, Reading
from scalenet.records.emit import Emit
from scalenet.records.paths import Paths


class Prepared(NamedTuple):
    """What ``prepare`` makes."""

    info: DataInfo
    splits: Splits
    read: Reading


def run(
    params: SimpleNamespace,
    inputs: Source,
    *,
    state: Path | None,
    generator: None,
    device: None,
    emit: Emit,
) -> Prepared:
    """Take in the source and split it by content; say what was read."""
    section, made = params.data, cut(params.data, inputs, state)
    splits = made.splits
    mean, std = moments(made.facts.sums[made.places["train"]], section.size**2)
    info = DataInfo(
        channels=section.channels,
        size=section.size,
        classes=inputs.classes,
        counts={name: len(split["labels"]) for name, split in splits.items()},
        mean=mean,
        std=std,
        digest=files.digest([section.channels, section.size], *contents(made)),
    )
    read = summary.reading(section, inputs, made)
    emit({"event": "read", "summary": summary.line(read), **read.plain()})
    return Prepared(info, splits, read)


def contents(made: Cut) -> Iterator[bytes]:
    """Yield what tells images apart: of each split, the hashes of its images and their labels."""
    for name, split in made.splits.items():
        yield made.facts.contents[made.places[name]].tobytes()
        yield split["labels"].tobytes()


def main(params: SimpleNamespace, paths: Paths, emit: Emit) -> None:
    """Read the source; write the splits and their description."""
    source, state = readers.find(params.data, paths.root), paths.state("prepare")
    state.mkdir(parents=True, exist_ok=True)  # where images lie until they are in order
    if said := summary.changed(paths.data / "info.json", source.classes):
        emit({"event": "notice", "text": said})
    made = run(params, source, state=state, generator=None, device=None, emit=emit)
    for name, split in made.splits.items():
        store.write(paths.data / f"{name}.npz", **split)
    made.info.write(paths.data / "info.json")
    made.read.write(paths.data / "read.json")
    files.write_bytes(paths.data / "contact.png", contact.sheet(made.info.classes, made.splits))
