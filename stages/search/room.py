"""The room: read weights and data, run the chain on a journal that survives interruption, write what was found."""

from __future__ import annotations

import numpy as np

from stages import artifacts, device
from stages.artifacts import FINETUNED, Candidate, DataInfo, Found, Journal, Paths, State, identity
from stages.nets import elastic
from stages.params import Params
from stages.search import evolution
from stages.search.finetuning import Finetuner
from stages.search.ledger import Emit, Ledger
from stages.search.scoring import Measure, Measurement, Scorer
from stages.space import BaseModel, Network, Scaling, scale
from stages.training.data import on_device


def run(
    params: Params, info: DataInfo, measure: Measure, emit: Emit, finetuned: Measure | None = None
) -> tuple[Found, list[Candidate]]:
    """Search; return the last state of the chain, or what fine-tuning made of it, and every candidate in order."""
    ledger = Ledger(params, info, measure, emit)
    chain: list[State] = evolution.search(ledger, np.random.default_rng(params.search.seed))
    last = chain[-1]
    strategies, score, ledgers = last.strategies, last.score, [ledger]
    if finetuned:
        tuned = Ledger(params, info, finetuned, emit, ledger.numbers, phase=FINETUNED, iteration=last.iteration)
        base = BaseModel.parse(last.base)
        chosen = evolution.decide(ledger, tuned, base, [Scaling.parse(text) for text in strategies])
        strategies, score = [str(by) for by in chosen], tuned.total(base, chosen)
        ledgers.append(tuned)
    candidates = sorted((c for own in ledgers for c in own.candidates.values()), key=lambda c: c.number)
    found = Found(base=last.base, strategies=strategies, score=score, chain=chain, measured=len(candidates))
    return found, candidates


def remembering(
    journal: Journal, measure: Measure, finetuned: Measure | None = None
) -> tuple[Measure, Emit, Measure | None]:
    """Return measures that know the journal's networks, and between them the emit that adds to it.

    The search is a function of its seed and its scores. Running it again over the journal's scores is how
    an interrupted search continues, to the identical result.
    """
    known = {identity(record): record for record in journal.records}

    def recalling(phase: str | None, new: Measure) -> Measure:
        def recall(network: Network) -> Measurement:
            record = known.get(identity({"network": str(network), "phase": phase}))
            if record is None:
                return new(network)
            return Measurement(record["accuracy"], record["probability"], record["seconds"])

        return recall

    def emit(candidate: Candidate, seconds: float) -> None:
        record = candidate.model_dump()
        if identity(record) not in known:
            journal.append(record | {"seconds": round(seconds, 4)})

    return recalling(None, measure), emit, recalling(FINETUNED, finetuned) if finetuned else None


def journal_key(params: Params, paths: Paths) -> str:
    """Return the identity of a search: everything that its scores and choices depend on."""
    inputs = [paths.supernet / "weights.pt", paths.data / "info.json"]
    recipe = params.supernet.recipe  # fine-tuning's, but for steps and rate
    return artifacts.digest(
        params.space, params.scaling, params.search, recipe, params.compute.device, artifacts.code(), *inputs
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
    finetuned = Finetuner(net, train, select, params) if params.search.finetune.steps else None
    journal = Journal(paths.state("search") / "candidates.jsonl", journal_key(params, paths))
    try:
        found, candidates = run(params, info, *remembering(journal, scorer, finetuned))
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
    accuracies = {candidate.network: candidate.accuracy for candidate in candidates}  # fine-tuned ones come last
    base = BaseModel.parse(found.base)
    networks = [str(scale(params.space, base, Scaling.parse(text))) for text in found.strategies]
    accuracies = {f"accuracy_stage{i}": accuracies[network] for i, network in enumerate(networks)}
    return {"score": found.score, "measured": found.measured} | accuracies
