"""Run a room on a bare machine: ``python -m scalenet.stages search`` or ``python -m scalenet.stages retrain S2``."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from scalenet.config import params
from scalenet.records.paths import Paths
from scalenet.stages import ROOMS, run_room

USAGE = f"usage: python -m scalenet.stages {{{','.join(ROOMS)}}} [MEMBER], in the folder that holds params.yaml"


def main(arguments: list[str]) -> int:
    """Run one room in the current folder; 0, or 2 with one message for bad input."""
    if not 1 <= len(arguments) <= 2:
        print(USAGE, file=sys.stderr)
        return 2
    paths = Paths(Path.cwd())
    try:
        run_room(params.load(paths.root / "params.yaml"), paths, *arguments)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    shutil.rmtree(paths.state(arguments[-1]), ignore_errors=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
