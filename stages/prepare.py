"""Stage 1: labelled images become three splits of bytes; only what is tested once reads test."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

from scalenet.data import contact, readers, summary
from scalenet.data.source import Source
from scalenet.data.splits import Splits, cut, moments
from scalenet.records import files
from scalenet.records.documents import DataInfo, Reading
from scalenet.records.paths import Paths
from scalenet.stages import Emit


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
    """Decode the source and split it by content; say what was read."""
    section, made = params.data, cut(params.data, inputs)
    splits = made.splits
    mean, std = moments(splits["train"]["pixels"])
    arrays = (array.tobytes() for split in splits.values() for array in split.values())
    info = DataInfo(
        channels=section.channels,
        size=section.size,
        classes=inputs.classes,
        counts={name: len(split["labels"]) for name, split in splits.items()},
        mean=mean,
        std=std,
        digest=files.digest(*arrays),
    )
    read = summary.reading(section, inputs, made)
    emit({"event": "read", "summary": summary.line(read), **read.plain()})
    return Prepared(info, splits, read)


def main(params: SimpleNamespace, paths: Paths, emit: Emit) -> None:
    """Read the source; write the splits and their description."""
    source = readers.find(params.data, paths.root)
    made = run(params, source, state=None, generator=None, device=None, emit=emit)
    for name, arrays in made.splits.items():
        files.write_arrays(paths.data / f"{name}.npz", arrays)
    made.info.write(paths.data / "info.json")
    made.read.write(paths.data / "read.json")
    files.write_bytes(paths.data / "contact.png", contact.sheet(made.info.classes, made.splits))
