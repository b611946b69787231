"""The room: read weights and data, run the chain on a journal that survives interruption, write what was found."""

from __future__ import annotations

import numpy as np

from stages import artifacts, device
from stages.artifacts import Candidate, DataInfo, Found, Journal, Paths, State
from stages.nets import elastic
from stages.params import Params
from stages.search import evolution
from stages.search.ledger import Emit, Ledger
from stages.search.scoring import Measure, Measurement, Scorer
from stages.space import BaseModel, Network, Scaling, scale
from stages.training.data import on_device


def run(params: Params, info: DataInfo, measure: Measure, emit: Emit) -> tuple[Found, list[Candidate]]:
    """Search; return the last state of the chain and every measured candidate in order."""
    ledger = Ledger(params, info, measure, emit)
    chain: list[State] = evolution.search(ledger, np.random.default_rng(params.search.seed))
    last = chain[-1]
    candidates = list(ledger.candidates.values())
    found = Found(base=last.base, strategies=last.strategies, score=last.score, chain=chain, measured=len(candidates))
    return found, candidates


def remembering(measure: Measure, journal: Journal) -> tuple[Measure, Emit]:
    """Return a measure that knows the journal's networks, and the emit that adds to it.

    The search is a function of its seed and its scores. Running it again over the journal's scores is how
    an interrupted search continues, to the identical result.
    """
    known = {record["network"]: record for record in journal.records}

    def recall(network: Network) -> Measurement:
        record = known.get(str(network))
        if record is None:
            return measure(network)
        return Measurement(record["accuracy"], record["probability"], record["seconds"])

    def emit(candidate: Candidate, seconds: float) -> None:
        if candidate.network not in known:
            journal.append(candidate.model_dump() | {"seconds": round(seconds, 4)})

    return recall, emit


def journal_key(params: Params, paths: Paths) -> str:
    """Return the identity of a search: everything that its scores and choices depend on."""
    inputs = [paths.supernet / "weights.pt", paths.data / "info.json"]
    return artifacts.digest(
        params.space, params.scaling, params.search, params.compute.device, artifacts.code(), *inputs
    )


def main(params: Params, paths: Paths) -> None:
    """Read train, select and the super-supernet; write the find, the candidates and the metrics."""
    on = device.prepare(params.compute)
    info = DataInfo.read(paths.data / "info.json")
    splits = [artifacts.read_split(paths.data / f"{name}.npz") for name in ("train", "select")]
    train, select = (on_device(split, info.mean, info.std, on) for split in splits)
    if params.search.calibration > len(train):
        raise ValueError(
            f"search.calibration: {params.search.calibration} was given, but train has {len(train)} images; "
            "give that or less"
        )
    net = elastic.read(paths.supernet / "weights.pt", on)
    scorer = Scorer(net, train, select, params.search)
    journal = Journal(paths.state("search") / "candidates.jsonl", journal_key(params, paths))
    try:
        found, candidates = run(params, info, *remembering(scorer, journal))
    finally:
        journal.close()
    columns = list(Candidate.model_fields)
    artifacts.write_table(
        paths.search / "candidates.csv", columns, [candidate.model_dump().values() for candidate in candidates]
    )
    found.write(paths.search / "found.json")
    artifacts.write_json(paths.search / "metrics.json", summary(params, found, candidates))


def summary(params: Params, found: Found, candidates: list[Candidate]) -> dict[str, float]:
    """Return the search's metrics: its score, and the top-1 of what it found in each scaling stage."""
    by_network = {candidate.network: candidate for candidate in candidates}
    base = BaseModel.parse(found.base)
    networks = [str(scale(params.space, base, Scaling.parse(text))) for text in found.strategies]
    accuracies = {f"accuracy_stage{i}": by_network[network].accuracy for i, network in enumerate(networks)}
    return {"score": found.score, "measured": found.measured} | accuracies
