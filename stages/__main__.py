"""Run a stage on a bare machine: ``python -m scalenet.stages search``, or ``… retrain S2``.

``torchrun --nproc-per-node 8 -m scalenet.stages supernet`` trains with a process a device.
"""

from __future__ import annotations

import sys
from pathlib import Path

from scalenet.config.away import Unavailable
from scalenet.stages import LEAST, STAGES, TOGETHER, check_limit, run_stage

USAGE = (
    f"usage: python -m scalenet.stages {{{','.join(STAGES)}}} [MEMBER], "
    "in the folder that holds params.yaml"
)


def say(record) -> None:
    """Print what was read, how far a training is, and what was damaged; one process does."""
    from scalenet.nets import group

    if not group.is_first():
        return
    if record["event"] == "read":
        print(record["summary"], file=sys.stderr)
    elif record["event"] == "notice":
        print(record["text"], file=sys.stderr)
    elif record["event"] == "step":
        print("step {step} of {steps}  loss {loss:.4f}".format(**record), file=sys.stderr)


def main(arguments: list[str]) -> int:
    """Run one stage in the current folder; 0, or, with one message, 2 for bad input and 3 for a
    server that is away."""
    if not 1 <= len(arguments) <= 2:
        print(USAGE, file=sys.stderr)
        return 2
    stage, member = [*arguments, None][:2]
    try:
        check_limit(LEAST)
        from scalenet.nets import group  # and PyTorch

        with group.joined():
            if group.size() > 1 and stage not in TOGETHER:
                raise ValueError(
                    f"stage {stage} is one process's; several train {' or '.join(TOGETHER)}"
                )
            run_stage(Path.cwd(), stage, member, say)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 3 if isinstance(error, Unavailable) else 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
