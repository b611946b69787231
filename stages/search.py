"""Stage 3: find a base model and its strategies with the super-supernet's weights."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import torch

from scalenet.data import store
from scalenet.data.images import on_device
from scalenet.nets import elastic
from scalenet.nets.elastic import Elastic
from scalenet.records import files
from scalenet.records.documents import Candidate, DataInfo, Found
from scalenet.records.journal import Journal
from scalenet.records.paths import Paths
from scalenet.search.finetuning import Finetuner
from scalenet.search.memory import Memory
from scalenet.search.run import find, planned, summary
from scalenet.search.scoring import Measures, Scorer
from scalenet.stages import Emit, state_key
from scalenet.training import device as devices


class SearchInputs(NamedTuple):
    """What ``search`` reads."""

    info: DataInfo
    train: files.Split
    select: files.Split
    elastic: Elastic


class SearchOutputs(NamedTuple):
    """What ``search`` makes: what was found, and every candidate in the order of measuring."""

    found: Found
    candidates: list[Candidate]


def run(
    params: SimpleNamespace,
    inputs: SearchInputs,
    *,
    state: Path,
    generator: np.random.Generator,
    device: torch.device,
    emit: Emit,
) -> SearchOutputs:
    """Search on a journal in ``state``, named by its key: what it holds is not measured again."""
    measures = measures_of(params, inputs, device)
    with closing(Journal(state / "candidates.jsonl", state.name)) as journal:
        emit({"event": "journal", "path": journal.path, "key": state.name})
        if journal.damaged:
            emit({"event": "notice", "text": journal.damaged})
        if journal.records:
            known = f"goes on: {len(journal.records)} candidates were measured before"
            emit({"event": "notice", "text": known})
        count = planned(params, inputs.info.task)
        emit({"event": "planned", "candidates": count, "known": len(journal.records)})
        memory = Memory(journal, emit)
        remembered = memory.recalling(measures)
        made = find(params, inputs.info.task, generator, remembered, memory.record)
    return SearchOutputs(*made)


def measures_of(params: SimpleNamespace, inputs: SearchInputs, device: torch.device) -> Measures:
    """Return what measures networks here: shared weights, and what finalists are measured by.

    That is fine-tuning, if it has steps, or all of select, if others see only a part of it.
    """
    info, splits, search = inputs.info, (inputs.train, inputs.select), params.search
    images = [on_device(split, info.mean, info.std, device) for split in splits]
    shared = Scorer(inputs.elastic, *images, search, search.images)
    if search.finetune.steps:
        return Measures(shared, Finetuner(inputs.elastic, *images, params))
    if 0 < search.images < len(images[1]):
        return Measures(shared, Scorer(inputs.elastic, *images, search))
    return Measures(shared)


def main(params: SimpleNamespace, paths: Paths, emit: Emit) -> None:
    """Read train, select and the super-supernet; write the find, the candidates and the metrics."""
    device, weights = devices.prepare(params.compute), paths.supernet / "weights.pt"
    splits = (store.read(paths.data / f"{name}.npz") for name in ("train", "select"))
    inputs = SearchInputs(paths.info(), *splits, elastic.read(weights, device))
    state = paths.state("search", state_key(params, paths, "search"))
    generator, out = np.random.default_rng(params.search.seed), paths.search
    made = run(params, inputs, state=state, generator=generator, device=device, emit=emit)
    rows = [candidate.plain() for candidate in made.candidates]
    files.write_table(out / "candidates.csv", rows[0], [row.values() for row in rows])
    made.found.write(out / "found.json")
    files.write_json(out / "metrics.json", summary(params, *made))
