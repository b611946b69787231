"""Stage 1: labelled images become three splits of bytes; only what is tested once reads test."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np

from scalenet.data import readers, summary
from scalenet.data.readers import Source
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
    generator: np.random.Generator,
    device: None,
    emit: Emit,
) -> Prepared:
    """Split the source stratified by class, decode what was chosen; say what was read."""
    section, splits = params.data, cut(params.data, inputs, generator)
    mean, std = moments(splits["train"]["pixels"])
    arrays = (array.tobytes() for split in splits.values() for array in split.values())
    info = DataInfo(
        name=section.name,
        source=section.source,
        channels=section.channels,
        size=section.size,
        classes=inputs.classes,
        counts={name: len(split["labels"]) for name, split in splits.items()},
        mean=mean,
        std=std,
        digest=files.digest(*arrays),
    )
    read = summary.reading(inputs, splits)
    emit({"event": "read", "summary": summary.line(read), **read.plain()})
    return Prepared(info, splits, read)


def main(params: SimpleNamespace, paths: Paths, emit: Emit) -> None:
    """Read the source; write the splits and their description."""
    source = readers.find(params.data, paths.root)
    generator = np.random.default_rng(params.data.seed)
    made = run(params, source, state=None, generator=generator, device=None, emit=emit)
    for name, arrays in made.splits.items():
        files.write_arrays(paths.data / f"{name}.npz", arrays)
    made.info.write(paths.data / "info.json")
    made.read.write(paths.data / "read.json")
