"""A damaged state is named, set aside and begun anew; it never changes a result."""

from __future__ import annotations

import errno
import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from scalenet.config.recipe import Recipe
from scalenet.records import journal, tensors
from scalenet.records.journal import Journal
from scalenet.training import loop, watch

BITS = random.Random(0)


def flipped(content: bytes, place: int) -> bytes:
    """Return the bytes with one bit the other way round."""
    changed = bytearray(content)
    changed[place] ^= 1 << BITS.randrange(8)
    return bytes(changed)


def trained(recipe: Recipe, state, steps: int | None = None):
    """Train four numbers; break off before a step if told. Return them and what was told."""
    weights = nn.ParameterDict({"x/weight": nn.Parameter(torch.zeros(2, 2))})
    told: list[dict] = []

    def backward(step: int) -> torch.Tensor:
        if step == steps:
            raise InterruptedError
        weights["x/weight"].grad = torch.full((2, 2), float(step + 1))
        return torch.tensor(float(step))

    try:
        loop.train(weights, recipe, backward, state, told.append)
    except InterruptedError:
        return None, told
    return weights["x/weight"].detach(), told


def test_a_damaged_checkpoint_never_changes_the_weights(params, tmp_path):
    recipe = params.retrain.recipe
    whole, _ = trained(recipe, None)
    trained(recipe, tmp_path, steps=recipe.checkpoint + 1)
    file = tmp_path / loop.CHECKPOINT
    content, noticed = file.read_bytes(), 0
    places = BITS.sample(range(len(content)), 120)
    broken = [flipped(content, place) for place in places]
    broken += [content[: len(content) * part // 7] for part in range(7)]
    for damaged in broken:
        file.write_bytes(damaged)
        weights, told = trained(recipe, tmp_path)
        assert torch.equal(weights, whole)
        noticed += any(record["event"] == "notice" for record in told)
        aside = file.with_name(f"{file.name}.damaged")
        aside.unlink(missing_ok=True)
    assert noticed > 60, "most damage hits content, which is then begun anew"


def test_damage_to_a_checkpoint_is_told_by_name_and_nothing_is_lost(params, tmp_path):
    recipe = params.retrain.recipe
    trained(recipe, tmp_path, steps=recipe.checkpoint + 1)
    file = tmp_path / loop.CHECKPOINT
    file.write_bytes(file.read_bytes()[:-200])
    _, told = trained(recipe, tmp_path)
    [notice] = [record["text"] for record in told if record["event"] == "notice"]
    assert str(file) in notice and "begins anew" in notice
    assert file.with_name("checkpoint.pt.damaged").exists()


# --- what the machine refuses, and the file is sound ----------------------------------------------

REFUSED = [
    OSError(errno.EMFILE, os.strerror(errno.EMFILE)),
    OSError(errno.EIO, os.strerror(errno.EIO)),
    PermissionError(errno.EACCES, os.strerror(errno.EACCES)),
    RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 9 bytes"),
    MemoryError(),
]


@pytest.mark.parametrize("error", REFUSED, ids=lambda error: str(error)[:12])
def test_a_checkpoint_that_the_machine_cannot_read_now_is_gone_on_from_later(
    params, tmp_path, monkeypatch, error
):
    recipe = params.retrain.recipe
    whole, _ = trained(recipe, None)
    trained(recipe, tmp_path, steps=recipe.checkpoint + 1)
    file = tmp_path / loop.CHECKPOINT
    content = file.read_bytes()

    def refuse(*arguments, **options):
        raise error

    with monkeypatch.context() as patch, pytest.raises((ValueError, type(error))) as raised:
        patch.setattr(torch, "load", refuse)
        trained(recipe, tmp_path)
    if isinstance(error, OSError):
        line = str(raised.value)
        assert line.startswith(f"{file}: cannot be read ({error.strerror}); ")
        assert "ulimit -n" in line or "a file that you may read" in line
    assert [p.name for p in tmp_path.iterdir()] == [file.name] and file.read_bytes() == content
    weights, told = trained(recipe, tmp_path)
    assert torch.equal(weights, whole) and "goes on from step" in told[0]["text"]


@pytest.mark.parametrize("name", [loop.CHECKPOINT, "watched.json"])
def test_a_disk_that_reads_no_byte_costs_no_checkpoint(params, tmp_path, monkeypatch, name):
    """Of such a file zipfile says that it is no archive."""
    recipe = params.retrain.recipe
    trained(recipe, tmp_path, steps=recipe.checkpoint + 1)
    (tmp_path / "watched.json").write_text(json.dumps({"8": [0.5]}))
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}

    def unread(*arguments):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch, pytest.raises(ValueError, match=rf"{name}.*error\); "):
        patch.setattr("zipfile._EndRecData", unread)
        patch.setattr(Path, "read_bytes", unread)
        if name == loop.CHECKPOINT:
            trained(recipe, tmp_path)
        else:
            watch.Watch(("top1",), None, tmp_path, lambda record: None)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


SHORT = """
import resource, sys
from pathlib import Path
import torch
from torch import nn
from scalenet.config.params import load
from scalenet.training.loop import Training

weights = nn.ParameterDict({"x/weight": nn.Parameter(torch.zeros(2**22, 4))})
training, path = Training(weights, load("params.yaml").retrain.recipe), Path(sys.argv[1])
training.save(path, 8)
training.resume(path, print)  # imports what reading takes
[line] = [line for line in open("/proc/self/status") if line.startswith("VmSize")]
limit = 1024 * int(line.split()[1]) + 2**24
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
training.resume(path, print)
"""


def test_a_sound_checkpoint_outlives_a_limit_on_memory(tmp_path):
    command = [sys.executable, "-c", SHORT, str(tmp_path / loop.CHECKPOINT)]
    done = subprocess.run(
        command, cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=120
    )
    assert "allocate memory" in done.stderr or "MemoryError" in done.stderr
    assert not done.stdout and [p.name for p in tmp_path.iterdir()] == [loop.CHECKPOINT]


# --- weights and journals -------------------------------------------------------------------------


def test_weights_with_a_flipped_bit_are_refused_by_name(tmp_path):
    path = tmp_path / "weights.pt"
    tensors.write(path, {"w": torch.arange(4000.0)}, {"kind": "test"})
    content = path.read_bytes()
    place = content.index(torch.arange(4000.0).numpy().tobytes()[400:440])
    path.write_bytes(flipped(content, place + 3))
    with pytest.raises(ValueError, match=r"weights\.pt: cannot be read.*damaged"):
        tensors.read(path)


def test_any_byte_of_a_journal_may_be_damaged(tmp_path):
    path = tmp_path / "candidates.jsonl"
    records = [{"network": f"n{i}", "accuracy": i / 3} for i in range(4)]
    first = Journal(path, "key")
    for record in records:
        first.append(record)
    first.close()
    content = path.read_bytes()
    for place in [*range(0, len(content), 5), len(content) - 1]:
        path.write_bytes(flipped(content, place))
        found = journal.read(path, "key")
        assert found == records[: len(found)], "what is kept is what was written"
        opened = Journal(path, "key")
        opened.close()
        assert opened.records == found
        lost = place < len(content) - 1 and len(found) < len(records)
        assert bool(opened.damaged) >= (lost and content[place:].count(b"\n") > 1)
        assert Journal(path, "key").damaged == "", "what was set aside is told once"


def test_a_line_of_a_journal_cannot_be_left_out_or_moved(tmp_path):
    path = tmp_path / "candidates.jsonl"
    first = Journal(path, "key")
    for i in range(3):
        first.append({"i": i})
    first.close()
    header, *lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(header + lines[0] + lines[2])
    opened = Journal(path, "key")
    assert opened.records == [{"i": 0}] and "line 3 is damaged" in opened.damaged
    assert (tmp_path / "candidates.jsonl.damaged").exists()
