"""The method itself: what is computed, knowing nothing of DVC, Prefect or MLflow."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from scalenet.config.params import Params
    from scalenet.records.paths import Paths

ROOMS = ("prepare", "supernet", "search", "extrapolate", "retrain", "publish")


def run_room(params: Params, paths: Paths, room: str, member: str | None = None) -> None:
    """Run a room, reading and writing under ``paths``; ``ValueError`` for anything a user can mend."""
    if room not in ROOMS:
        raise ValueError(f"{room!r} is no stage; there are {', '.join(ROOMS)}")
    if (member is not None) != (room == "retrain"):
        raise ValueError(f"stage {room} takes {'one family member, such as S0' if room == 'retrain' else 'no member'}")
    if member is not None and member not in params.family:
        raise ValueError(f"{member!r} is no family member; params.yaml has {', '.join(params.family)}")
    main = import_module(f"scalenet.stages.{room}").main
    main(params, paths, *([] if member is None else [member]))
