"""Run a room on a bare machine: ``python -m stages search`` or ``python -m stages retrain S2``."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from stages import ROOMS, params, run_room
from stages.artifacts import Paths

USAGE = f"usage: python -m stages {{{','.join(ROOMS)}}} [MEMBER], in the folder that holds params.yaml"


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
