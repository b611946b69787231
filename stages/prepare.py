"""Room 1: labelled images become three splits of bytes. Only ``retrain`` ever reads ``test``."""

from __future__ import annotations

from scalenet.config.params import Params
from scalenet.data import sources
from scalenet.data.splits import run
from scalenet.records import files
from scalenet.records.paths import Paths


def main(params: Params, paths: Paths) -> None:
    """Read the source, write the splits."""
    info, splits = run(params.data, sources.find(params.data, paths.root))
    for name, arrays in splits.items():
        files.write_arrays(paths.data / f"{name}.npz", arrays)
    info.write(paths.data / "info.json")
