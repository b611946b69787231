"""Bytes that change by themselves: in DVC's cache, in the artifacts, in what a stage resumes from.

A trial takes a finished family. Of every file a place of each class is damaged: the first bytes,
the middle, the last byte; or it is cut, or emptied. Which bit and which place are drawn from the
trial's seed.
"""

from __future__ import annotations

import random
import shutil
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from bench.faults import projects
from bench.faults.kills import RUN, Outcome, Reference
from scalenet.pipeline import cache
from scalenet.stages import run_stage
from scalenet.training.loop import ignore

CLASSES = ("first", "middle", "last", "cut", "empty")
RESUMED = ("supernet", "search")  # stages that are broken off: a checkpoint, and a journal
TIMES = 2  # that each is damaged in a trial


class BrokenOff(Exception):
    """Stands for the end of a process in the middle of a stage."""


def damaged(content: bytes, kind: str, draws: random.Random) -> bytes:
    """Return other bytes than these, which are at least one."""
    size = len(content)
    if kind == "empty" or size == 1:
        return b""
    if kind == "cut":
        return content[: draws.randrange(1, size)]
    first, last = min(8, size), size - 1
    places = {"first": draws.randrange(first), "middle": draws.randrange(size), "last": last}
    changed = bytearray(content)
    changed[places[kind]] ^= 1 << draws.randrange(8)
    return bytes(changed)


def trial(folder: Path, seed: int, whole: Reference) -> list[Outcome]:
    """Damage a copy of the finished family in every way."""
    draws = random.Random(seed)
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(folder.parent / "whole", folder, symlinks=True)
    root = folder / "project"
    outcomes = [_cache(root, draws), _made(folder, draws, whole), _state(root, draws, whole)]
    if not any(outcome.lost for outcome in outcomes):
        shutil.rmtree(folder)
    return outcomes


def _spoiled(path: Path, content: bytes) -> None:
    """Write a file beneath whoever relies on its mode."""
    mode = path.stat().st_mode
    path.chmod(mode | stat.S_IWUSR)
    path.write_bytes(content)
    path.chmod(mode)


def _cache(root: Path, draws: random.Random) -> Outcome:
    """Damage every object of DVC's cache in each way, and see whether all are named."""
    tried, lost = 0, []
    objects = sorted((root / ".dvc/cache/files/md5").glob("??/*"))
    whole = {path: content for path in objects if (content := path.read_bytes())}
    for kind in CLASSES:
        for path, content in whole.items():
            _spoiled(path, damaged(content, kind, draws))
        named = {found.path for found in cache.damaged(root)}
        tried += len(whole)
        lost += [f"{path.name}, {kind}: not named" for path in whole.keys() - named]
    for path, content in whole.items():
        _spoiled(path, content)
    return Outcome("cache", tried, lost)


def _made(folder: Path, draws: random.Random, whole: Reference) -> Outcome:
    """Damage every artifact, each in a way of its own, and have the family run again."""
    files = [p for p in sorted((folder / "project/artifacts").rglob("*")) if p.is_file()]
    for path in files:
        content = path.read_bytes()
        path.unlink()  # it may be a link to DVC's cache
        path.write_bytes(damaged(content, draws.choice(CLASSES), draws))
    stuck = projects.finish(folder, *RUN)
    lost = [stuck] if stuck else projects.differences(folder, whole.content)
    return Outcome("made", len(files), lost)


def _state(root: Path, draws: random.Random, whole: Reference) -> Outcome:
    """Break stages off, damage what they would resume from, and let them end."""
    tried, lost = 0, []
    for stage in RESUMED:
        for _ in range(TIMES):
            shutil.rmtree(root / ".state" / stage, ignore_errors=True)
            _break_off(root, stage, draws)
            for path in _resumed(root, stage):
                kind = draws.choice(CLASSES)
                path.write_bytes(damaged(path.read_bytes(), kind, draws))
                tried += 1
                lost += _ended(root, stage, whole, f"{stage}, {path.name}, {kind}")
    return Outcome("state", tried, lost)


def _break_off(root: Path, stage: str, draws: random.Random) -> None:
    """Run a stage until it has said so many words."""
    words = draws.randrange(8, 16)

    def emit(record) -> None:
        nonlocal words
        words -= 1
        if not words:
            raise BrokenOff

    with suppress(BrokenOff):
        run_stage(root, stage, None, emit)


def _resumed(root: Path, stage: str) -> Iterator[Path]:
    """Yield the files that hold what a stage resumes from, one for each damage."""
    for path in sorted((root / ".state" / stage).glob("*/*")):
        if path.is_file() and path.stat().st_size and path.suffix in (".pt", ".jsonl"):
            yield path


def _ended(root: Path, stage: str, whole: Reference, what: str) -> list[str]:
    """Let a stage end, and name what is not as it should be."""
    try:
        run_stage(root, stage, None, ignore)
    except ValueError as error:
        return [f"{what}: refused ({error})"]
    found = projects.content(root.parent)
    mine = [name for name in whole.content if name.startswith(f"artifacts/{stage}/")]
    return [f"{what}: {name}" for name in mine if found[name] != whole.content[name]]
