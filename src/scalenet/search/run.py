"""The whole search on a journal that survives interruption."""

from __future__ import annotations

import numpy as np

from scalenet.config.params import Params
from scalenet.records import files
from scalenet.records.documents import FINETUNED, Candidate, DataInfo, Found, State, identity
from scalenet.records.journal import Journal
from scalenet.records.paths import Paths
from scalenet.search import evolution
from scalenet.search.ledger import Emit, Ledger
from scalenet.search.scoring import Measure, Measurement
from scalenet.space.network import Network
from scalenet.space.scale import scale
from scalenet.space.scaling import BaseModel, Scaling


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
    return files.digest(
        params.space, params.scaling, params.search, recipe, params.compute.device, files.code(), *inputs
    )


def summary(params: Params, found: Found, candidates: list[Candidate]) -> dict[str, float]:
    """Return the search's metrics: its score, and the top-1 of what it found in each scaling stage."""
    accuracies = {candidate.network: candidate.accuracy for candidate in candidates}  # fine-tuned ones come last
    base = BaseModel.parse(found.base)
    networks = [str(scale(params.space, base, Scaling.parse(text))) for text in found.strategies]
    accuracies = {f"accuracy_stage{i}": accuracies[network] for i, network in enumerate(networks)}
    return {"score": found.score, "measured": found.measured} | accuracies
