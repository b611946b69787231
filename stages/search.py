"""Stage 3: find a base model and its strategies with the super-supernet's weights."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np

from scalenet.config import params as config
from scalenet.records import files
from scalenet.records.documents import Candidate, DataInfo, Found
from scalenet.records.emit import Emit
from scalenet.records.journal import Journal
from scalenet.records.paths import Paths
from scalenet.records.written import counted
from scalenet.search import measuring
from scalenet.search.cluster import NamedCall
from scalenet.search.memory import Memory
from scalenet.search.run import find, planned, summary
from scalenet.search.scoring import Measures
from scalenet.stages import LOADED, declared, state_key


class SearchInputs(NamedTuple):
    """What ``search`` reads: what the images are, and what measures networks with their help."""

    info: DataInfo
    measures: Measures


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
    device: None,
    emit: Emit,
) -> SearchOutputs:
    """Search on a journal in ``state``, named by its key: what it holds is not measured again."""
    with closing(Journal(state / "candidates.jsonl", state.name)) as journal:
        emit({"event": "journal", "path": journal.path, "key": state.name})
        if journal.damaged:
            emit({"event": "notice", "text": journal.damaged})
        if journal.records:
            known = counted(len(journal.records), "candidate was", "candidates were")
            emit({"event": "notice", "text": f"goes on: {known} measured before"})
        count = planned(params, inputs.info.task)
        emit({"event": "planned", "candidates": count, "known": len(journal.records)})
        memory = Memory(journal, emit)
        remembered = memory.recalling(inputs.measures)
        made = find(params, inputs.info.task, generator, remembered, memory.record)
    return SearchOutputs(*made)


def read_there(root: str, code: str, key: str) -> Measures:
    """Return what measures networks in another process than the search's; ``ValueError`` unless
    it would measure the same."""
    project = Paths(Path(root))
    if LOADED["search"] != code:
        raise ValueError(
            "it runs another scalenet than the search; install the same, and start it anew"
        )
    params = declared(config.load(project.root / "params.yaml"), "search")
    if state_key(params, project, "search") != key:
        raise ValueError(
            f"it finds other params, documents or code by {root} than the search: all must see "
            "one folder at that path, which stays as it is while they score"
        )
    return measuring.read(params, project)


def main(params: SimpleNamespace, paths: Paths, emit: Emit) -> None:
    """Search with what train, select and the super-supernet say; write the find, the candidates
    and the metrics."""
    key, out = state_key(params, paths, "search"), paths.search
    there = NamedCall(__name__, "read_there", (str(paths.root.resolve()), LOADED["search"], key))
    with measuring.measuring(params, paths, there, emit) as measures:
        inputs, state = SearchInputs(paths.info(), measures), paths.state("search", key)
        generator = np.random.default_rng(params.search.seed)
        made = run(params, inputs, state=state, generator=generator, device=None, emit=emit)
    rows = [candidate.plain() for candidate in made.candidates]
    files.write_table(out / "candidates.csv", rows[0], [row.values() for row in rows])
    made.found.write(out / "found.json")
    files.write_json(out / "metrics.json", summary(params, *made))
