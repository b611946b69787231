"""A damaged state is named, set aside and begun anew; it never changes a result."""

from __future__ import annotations

import random

import pytest
import torch
from torch import nn

from scalenet.config.recipe import Recipe
from scalenet.records import journal, tensors
from scalenet.records.journal import Journal
from scalenet.training import loop

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

    def backward(step: int) -> float:
        if step == steps:
            raise InterruptedError
        weights["x/weight"].grad = torch.full((2, 2), float(step + 1))
        return float(step)

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
