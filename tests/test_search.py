"""The search: it finds known optima, never believes a prediction, and survives interruption."""

import os
import re
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from itertools import islice, pairwise
from pathlib import Path
from statistics import fmean

import numpy as np
import pytest
import torch
from conftest import ROOT, merge
from scipy.stats import spearmanr

from bench.method.scripts import params_of
from scalenet.config.params import load, parse, read_yaml
from scalenet.nets import elastic
from scalenet.nets.child import Child
from scalenet.records.journal import Journal
from scalenet.records.journal import read as read_journal
from scalenet.search import evolution
from scalenet.search.breeding import cross, mutate
from scalenet.search.finetuning import Finetuner
from scalenet.search.ledger import Label, Ledger, Proposal
from scalenet.search.memory import Memory
from scalenet.search.ranking import ranked
from scalenet.search.run import find, summary
from scalenet.search.scoring import Measurement, Measures, Scorer, judged
from scalenet.search.surrogate import Surrogate
from scalenet.space import cost, sampling
from scalenet.space.budget import Budget
from scalenet.space.network import Block, Network, Task
from scalenet.space.scale import contains, scale
from scalenet.space.scaling import BaseModel, Scaling, strategies
from scalenet.training import supernet


class Interruption(Exception):
    """What a measure raises when its budget of calls is spent."""


class Toy:
    """A measure by a known function of the network; it breaks off after ``limit`` calls."""

    def __init__(self, score, limit=None):
        self.score, self.limit, self.calls = score, limit, []

    def __call__(self, networks):
        return map(self.measure, networks)

    def measure(self, network: Network) -> Measurement:
        if len(self.calls) == self.limit:
            raise Interruption
        self.calls.append(network)
        return Measurement(self.score(network), self.score(network), seconds=0.01 * len(self.calls))


def linear(network: Network) -> float:
    """Return a score that is smooth in all that a network chooses, best inside the space."""
    kernels = [k for stage in network.blocks[1:] for k in stage.kernels]
    depths = [len(stage.kernels) for stage in network.blocks]
    value = 0.05 * sum(k == 5 for k in kernels) + 0.03 * depths[1] - 0.02 * depths[2]
    value = value / len(kernels) + 0.01 * network.blocks[2].expand
    return round(0.4 + value + 0.01 * network.blocks[1].width - 0.02 * network.resolution, 6)


def rugged(network: Network) -> float:
    """Return a score without any structure: nothing but measuring tells it."""
    return round(np.random.default_rng(zlib.crc32(str(network).encode())).random(), 6)


def ignore(candidate, seconds):
    """Record nothing."""


def quiet(record):
    """Emit to nobody."""


def search(params, info, score=linear):
    toy = Toy(score)
    found, candidates = found_by(params, info, Measures(toy))
    return found, candidates, toy


def found_by(params, info, measures, record=ignore):
    """Run the whole search with other measures."""
    generator = np.random.default_rng(params.search.seed)
    return find(params, info.task, generator, measures, record)


def ledger_of(params, info, measure) -> Ledger:
    return Ledger(params.search, budget_of(params, info), measure, ignore)


def budget_of(params, info) -> Budget:
    return Budget(params.space, params.scaling, info.task)


def thorough(make_params, **search):
    """Return params whose evolution sees the whole of a space of 336 base models."""
    section = {
        "population": 100,
        "generations": 6,
        "parents": 12,
        "iterations": 4,
        "mutation": 0.3,
        "surrogate": 1,
    }
    return make_params({"search": section | {"random_bases": 8} | search})


# --- the optimum ----------------------------------------------------------------------------------


def best_states(params, info, score):
    """Return the best score over every feasible (base model, strategies), by trying them all."""
    budget, weights = budget_of(params, info), np.array(params.search.stage_weights)
    best = {}
    for base in sampling.walk(params.space):
        offered = [budget.feasible(base, stage) for stage in range(len(weights))]
        if budget.total_miss(base) == 0 and all(offered):
            scores = [
                max(score(scale(params.space, base, by)) for by in stage) for stage in offered
            ]
            best[base] = float(np.dot(weights, scores) / weights.sum())
    return best


@pytest.mark.parametrize("weights", [[1, 1, 1], [1, 0, 3]])
@pytest.mark.parametrize("surrogate", [1, 4])
def test_the_known_optimum_is_found(make_params, info, weights, surrogate):
    params = thorough(make_params, stage_weights=weights, surrogate=surrogate)
    best = best_states(params, info, linear)
    assert 20 < len(best) < 336 and len(set(best.values())) > 10, (
        "the budget should bind, and scores should differ"
    )
    found, _, _ = search(params, info)
    assert found.score == pytest.approx(max(best.values()), abs=1e-9)
    assert best[found.base] == pytest.approx(max(best.values()), abs=1e-9)


@pytest.mark.parametrize("seed", range(2))
def test_the_last_state_is_a_fixed_point(make_params, info, seed):
    """A chain that saw all of a rugged score ends where neither of its moves can improve."""
    params = thorough(make_params, seed=seed, iterations=6)
    found, _, _ = search(params, info, rugged)
    budget, weights = budget_of(params, info), np.ones(3)

    def total(base, strategies):
        return float(np.mean([rugged(scale(params.space, base, by)) for by in strategies]))

    base, strategies = found.base, found.strategies
    assert total(base, strategies) == pytest.approx(found.score)
    assert found.score == pytest.approx(
        np.dot(
            weights,
            [
                max(rugged(scale(params.space, base, by)) for by in budget.feasible(base, i))
                for i in range(3)
            ],
        )
        / 3
    )
    rivals = [
        total(b, strategies)
        for b in sampling.walk(params.space)
        if budget.total_miss(b, strategies) == 0
    ]
    assert found.score == pytest.approx(max(rivals))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("surrogate", [1, 3])
def test_the_chain_never_falls_and_reports_only_what_was_measured(
    make_params, info, seed, surrogate
):
    params = make_params({"search": {"seed": seed, "iterations": 4, "surrogate": surrogate}})
    found, candidates, toy = search(params, info, rugged)
    assert all(after.score >= before.score for before, after in pairwise(found.chain))
    assert [state.iteration for state in found.chain] == [
        1,
        2,
        3,
        4,
    ] and found.score == found.chain[-1].score
    measured = {candidate.network: candidate.score for candidate in candidates}
    for state in found.chain:
        networks = [scale(params.space, state.base, by) for by in state.strategies]
        mean = np.mean([measured[network] for network in networks])
        assert state.score == pytest.approx(mean, abs=1e-12)
        assert all(measured[network] == rugged(network) for network in networks)
    assert toy.calls == [candidate.network for candidate in candidates] and found.measured == len(
        candidates
    )
    assert len(set(toy.calls)) == len(toy.calls), "a network was measured twice"


def test_candidates_are_feasible_and_fully_described(params, info):
    _, candidates, _ = search(params, info)
    budget, phases = budget_of(params, info), set()
    for number, c in enumerate(candidates):
        base, by = c.base, c.scaling
        network = scale(params.space, base, by)
        assert (c.number, c.network) == (number, network) and contains(params.space, base)
        assert (c.depth, c.width, c.resolution) == (by.depth, by.width, by.resolution)
        assert (c.flops, c.params) == (
            cost.flops(network, Task(1, 3)),
            cost.parameters(network, Task(1, 3)),
        )
        assert by in strategies(params.scaling, c.size)
        assert budget.total_miss(base) == 0 and budget.miss(base, by, c.size) == 0
        target = params.scaling.budget * 2**c.size
        assert abs(c.flops - target) <= params.scaling.stages[c.size].tolerance * target
        phases.add(c.phase)
    assert phases == {"start", "bases", "strategies"} and {c.size for c in candidates} == {0, 1, 2}
    assert any(c.predicted is not None for c in candidates)


def test_metric_and_weights_decide_the_score(make_params, info):
    class Split(Toy):
        def measure(self, network):
            return Measurement(rugged(network), linear(network), 0.0)

    for metric, score in (("accuracy", rugged), ("probability", linear)):
        params = make_params({"search": {"metric": metric, "stage_weights": [0, 2, 1]}})
        found, candidates = found_by(params, info, Measures(Split(None)))
        assert all(c.score == score(c.network) for c in candidates)
        scores = [score(scale(params.space, found.base, by)) for by in found.strategies]
        assert found.score == pytest.approx((2 * scores[1] + scores[2]) / 3)
        assert summary(params, found, candidates)["measured"] == len(candidates)


def test_a_search_is_a_function_of_its_seed(make_params, info):
    runs = [search(make_params({"search": {"seed": seed}}), info, rugged)[:2] for seed in (0, 0, 1)]
    assert runs[0] == runs[1] and runs[0][1] != runs[2][1]


def test_mutation_stays_in_the_space_and_reaches_all_of_it(params, info):
    generator = np.random.default_rng(0)
    base = BaseModel.parse("k3e1-3e2-3e3")
    reached = set()
    for _ in range(6000):
        base = mutate(params.space, generator, base, 0.5)
        assert contains(params.space, base)
        reached.add(base)
    assert len(reached) == 336
    assert mutate(params.space, generator, base, 0.0) == base


def test_a_child_takes_each_block_whole_from_either_parent():
    generator = np.random.default_rng(0)
    parents = BaseModel.parse("k3e1-3e2-3e1"), BaseModel.parse("k3e1-5.5e2-7e3")
    children = {str(cross(generator, *parents)) for _ in range(100)}
    assert children == {"k3e1-3e2-3e1", "k3e1-3e2-7e3", "k3e1-5.5e2-3e1", "k3e1-5.5e2-7e3"}


def test_expansion_ratios_mutate_at_the_asked_rate(params):
    generator, base = np.random.default_rng(0), BaseModel.parse("k3e1-3e2-3e1")
    mutants = [mutate(params.space, generator, base, 0.4) for _ in range(3000)]
    changed = np.mean([mutant.blocks[2].expand == 3 for mutant in mutants])
    assert changed == pytest.approx(0.2, abs=0.03), "half of those redrawn"


# --- the surrogate --------------------------------------------------------------------------------


def sampled(params, count, seed):
    sampler, generator = (
        sampling.Sampler(params.space, params.scaling, None, False),
        np.random.default_rng(seed),
    )
    networks = [sampler.draw(generator).network for _ in range(count)]
    return [(network, cost.flops(network, Task(1, 3))) for network in networks]


def test_the_surrogate_ranks_a_linear_score(params):
    known, fresh = sampled(params, 60, 0), sampled(params, 200, 1)
    model = Surrogate.fit(known, [linear(network) for network, _ in known])
    guesses = model.predict(fresh)
    assert spearmanr(guesses, [linear(network) for network, _ in fresh]).statistic > 0.95
    assert model.predict(fresh[::-1]) == guesses[::-1]


def test_a_process_knows_where_it_knows_little(params):
    """Its guess ranks as well; far from what was measured a bound raises what it hopes."""
    known, fresh = sampled(params, 60, 0), sampled(params, 200, 1)
    scores = [linear(network) for network, _ in known]
    model = Surrogate.fit(known, scores, "process", 2.0)
    guesses, hopes = model.predict(fresh), model.prospects(fresh)
    assert spearmanr(guesses, [linear(network) for network, _ in fresh]).statistic > 0.95
    assert all(hope >= guess for hope, guess in zip(hopes, guesses, strict=True))
    spread = np.subtract(hopes, guesses)
    [there] = np.subtract(model.prospects(known[:1]), model.predict(known[:1]))
    assert there < np.median(spread)
    eager = Surrogate.fit(known, scores, "process", 0.0)
    assert eager.prospects(fresh) == eager.predict(fresh) == guesses


def test_a_process_needs_fewer_evaluations_than_chance(make_params, info):
    """On equal numbers of networks measured, and on a score that is not linear."""

    def curved(network):
        return round(linear(network) - 0.002 * (network.blocks[1].width - 10) ** 2, 6)

    def best(surrogate, seed):
        section = {"population": 3, "generations": 5, "iterations": 1, "random_bases": 1,
                   "surrogate": surrogate, "model": "process", "bound": 1.0,
                   "parents": 3, "seed": seed}  # fmt: skip
        found, candidates, _ = search(make_params({"search": section}), info, curved)
        return found.score, len(candidates)

    guided, chance = (
        np.mean([best(surrogate, seed) for seed in range(4)], axis=0) for surrogate in (8, 1)
    )
    assert guided[0] > chance[0] and guided[1] <= chance[1]


def test_the_surrogate_pays_at_the_same_number_of_measurements(make_params, info):
    def mean_score(surrogate):
        small = {
            "population": 6,
            "generations": 3,
            "iterations": 1,
            "surrogate": surrogate,
            "parents": 3,
        }
        runs = [search(make_params({"search": small | {"seed": seed}}), info) for seed in range(20)]
        return np.mean([found.score for found, _, _ in runs])

    assert mean_score(8) > mean_score(1)


# --- fine-tuning ----------------------------------------------------------------------------------


def coarse(network: Network) -> float:
    """Return a score that likes low resolutions: what fine-tuning contradicts."""
    return round(0.9 - 0.02 * network.resolution, 6)


def fine(network: Network) -> float:
    """Return a score that likes high resolutions."""
    return round(0.1 + 0.02 * network.resolution, 6)


@pytest.mark.parametrize(("share", "surrogate"), [(0.5, 1), (1.0, 1), (0.5, 3)])
def test_fine_tuning_chooses_among_the_best_by_shared_weights(make_params, info, share, surrogate):
    params = make_params(
        {"search": {"finetune": {"steps": 2, "lr": 0.1, "share": share}, "surrogate": surrogate}}
    )
    tuned = Toy(fine)
    found, candidates = found_by(params, info, Measures(Toy(coarse), tuned))
    base, budget = found.base, budget_of(params, info)
    for stage, (by, last) in enumerate(
        zip(found.strategies, found.chain[-1].strategies, strict=True)
    ):
        options = budget.feasible(base, stage)
        ours = [c for c in candidates if c.phase == "finetuned" and c.size == stage]
        assert {c.scaling for c in ours} <= set(options)
        if surrogate == 1:
            ranked = sorted(
                options, key=lambda by: (-coarse(scale(params.space, base, by)), str(by))
            )
            best = {
                scale(params.space, base, by) for by in ranked[: int(np.ceil(share * len(options)))]
            }
            resolutions = {by.resolution for by in options}
            assert best <= {c.network for c in ours}
            assert len(ours) <= len(best) + len(resolutions) + 1
        assert by.resolution == max(c.resolution for c in ours)
        tried = {c.network for c in ours}  # two strategies may make one network
        assert scale(params.space, base, last) in tried, "the chain's own choice is tuned too"
        if share == 1:
            assert tried == {scale(params.space, base, by) for by in options}
    networks = [scale(params.space, base, by) for by in found.strategies]
    assert found.score == pytest.approx(np.mean([fine(network) for network in networks]))
    assert [c.number for c in candidates] == list(range(len(candidates))) and found.measured == len(
        candidates
    )
    top = summary(params, found, candidates)
    assert [top[f"accuracy_stage{i}"] for i in range(3)] == [fine(network) for network in networks]


@pytest.mark.parametrize("surrogate", [1, 3])
def test_each_resolution_has_a_finalist(make_params, info, surrogate):
    """Shared weights favour low resolutions here; trained on alone, the highest is best."""
    section = {"finetune": {"steps": 2, "lr": 0.1, "share": 0.0}, "surrogate": surrogate}
    params = make_params({"search": section})
    found, candidates = found_by(params, info, Measures(Toy(lambda n: -fine(n)), Toy(fine)))
    for size, by in enumerate(found.strategies):
        offered = {by.resolution for by in budget_of(params, info).feasible(found.base, size)}
        tuned = {c.resolution for c in candidates if (c.phase, c.size) == ("finetuned", size)}
        assert tuned == offered and by.resolution == max(offered)


def test_finalists_are_few_and_measured_once(make_params, info):
    section = {"images": 20, "finetune": {"steps": 0, "share": 0.3}, "surrogate": 1}
    params = make_params({"search": section})
    shared, finals = Toy(coarse), Toy(fine)
    found, candidates = found_by(params, info, Measures(shared, finals))
    rescored = [c for c in candidates if c.phase == "rescored"]
    assert len(finals.calls) == len(set(finals.calls)) == len(rescored)
    assert len(shared.calls) == len(set(shared.calls)) == len(candidates) - len(rescored)
    assert len({c.identity for c in candidates}) == len(candidates)
    for size in range(3):
        offered = len(budget_of(params, info).feasible(found.base, size))
        own = sum(c.size == size for c in rescored)
        assert 1 <= own <= np.ceil(0.3 * offered) + 1


def test_finalists_have_a_metric_of_their_own(make_params, info):
    def measure(networks):
        for network in networks:
            yield Measurement(coarse(network), fine(network), 0.0)

    over = {"metric": "accuracy", "images": 20, "finetune": {"metric": "probability", "share": 1.0}}
    found, candidates = found_by(make_params({"search": over}), info, Measures(measure, measure))
    assert {c.phase == "rescored": c.score == c.probability for c in candidates} == {
        False: False, True: True,
    }  # fmt: skip
    networks = [scale(make_params({}).space, found.base, by) for by in found.strategies]
    assert found.score == pytest.approx(np.mean([fine(network) for network in networks]))


def test_a_search_cut_off_while_fine_tuning_continues(make_params, info, tmp_path):
    params = make_params({"search": {"finetune": {"steps": 2, "lr": 0.1, "share": 1.0}}})

    def run(path, limit):
        shared, tuned = Toy(coarse), Toy(fine, limit)
        found = on_journal(params, info, path, Measures(shared, tuned))
        return found, shared.calls, tuned.calls

    whole, scored, tuned = run(tmp_path / "whole.jsonl", None)
    cut, *first = run(tmp_path / "cut.jsonl", 2)
    again, *rest = run(tmp_path / "cut.jsonl", None)
    assert cut is None and again == whole
    assert first[0] + rest[0] == scored and first[1] + rest[1] == tuned and len(first[1]) == 2


def test_a_surrogate_leaves_most_strategies_unmeasured(make_params, info):
    """It proposes which of a base model's strategies are measured; known ones stay options."""

    def made(surrogate):
        params = make_params({"search": {"surrogate": surrogate, "random_bases": 4}})
        return ledger_of(params, info, Toy(linear))

    generator = np.random.default_rng(0)
    full, lean = made(1), made(4)
    bases = [full.budget.draw(generator) for _ in range(4)]
    first = [evolution.first_strategies(ledger, bases) for ledger in (full, lean)]
    assert len(lean.candidates) < 0.7 * len(full.candidates) and lean.surrogate is not None
    options = evolution.feasible(lean.budget, bases[0], 2)
    assert all(lean.knows(one) for one in options), "the first base model is measured whole"
    best = max(linear(lean.network(one)) for one in options)
    current = [*first[1][:2], options[0].scaling]
    chosen = evolution.best_strategies(lean, Label("strategies", 1), bases[0], current)
    assert linear(lean.network(Proposal(2, bases[0], chosen[2]))) == best


def test_a_slice_is_fine_tuned_from_the_shared_weights(make_params, toy):
    """With a rate of next to nothing, what is scored is the slice itself."""
    params = make_params(
        {"search": {"finetune": {"steps": 1, "lr": 1e-9, "share": 1.0}, "calibration": 64}}
    )
    net = elastic.build(
        params.space, params.scaling, Task(1, 3), "left", torch.Generator().manual_seed(0)
    )
    with torch.no_grad():
        for name, tensor in net.weights.items():
            tensor += 0.1 * torch.randn(
                tensor.shape, generator=torch.Generator().manual_seed(len(name))
            )
    network = sampled(params, 1, seed=4)[0][0]
    tuned = Finetuner(net, toy(64), toy(60, seed=1), params).measure(network)
    shared = Scorer(net, toy(64), toy(60, seed=1), params.search).measure(network)
    assert tuned.probability == pytest.approx(shared.probability, abs=1e-4)


def test_fine_tuning_improves_a_slice_and_leaves_the_shared_weights(make_params, toy):
    params = make_params(
        {"search": {"finetune": {"steps": 40, "lr": 0.1, "share": 1.0}, "calibration": 64}}
    )
    net = elastic.build(
        params.space, params.scaling, Task(1, 3), "left", torch.Generator().manual_seed(0)
    )
    before = {name: tensor.clone() for name, tensor in net.weights.items()}
    network = sampled(params, 1, seed=4)[0][0]
    shared = Scorer(net, toy(96), toy(60, seed=1), params.search).measure(network)
    measures = [Finetuner(net, toy(96), toy(60, seed=1), params) for _ in range(2)]
    first, second = (one.measure(network) for one in measures)
    assert (first.accuracy, first.probability) == (second.accuracy, second.probability)
    assert first.accuracy > shared.accuracy + 0.2 and first.probability > shared.probability
    assert all(torch.equal(before[name], tensor) for name, tensor in net.weights.items())


# --- interruption ---------------------------------------------------------------------------------


def journalled(params, info, path, limit=None, key="key"):
    """Run a search on a journal; return its result (None if it broke off) and what it measured."""
    toy = Toy(rugged, limit)
    return on_journal(params, info, path, Measures(toy), key), toy.calls


def on_journal(params, info, path, measures, key="key", emit=quiet):
    """Run a search on a journal; return its result, or None if it broke off."""
    with closing(Journal(path, key)) as journal:
        memory = Memory(journal, emit)
        try:
            return found_by(params, info, memory.recalling(measures), memory.record)
        except Interruption:
            return None


@pytest.fixture(scope="module")
def short(make_params):
    return make_params(
        {"search": {"population": 5, "generations": 3, "iterations": 2, "surrogate": 3}}
    )


def test_an_interrupted_search_continues_to_the_identical_result(short, info, tmp_path):
    whole, all_calls = journalled(short, info, tmp_path / "whole.jsonl")
    assert len(all_calls) > 1 + 9 + 7, "what the cut runs measure"
    calls, result = [], None
    for limit in (1, 9, 0, 7, None):
        result, more = journalled(short, info, tmp_path / "cut.jsonl", limit)
        assert (result is None) == (limit is not None)
        calls += more
    assert result == whole and calls == all_calls
    again, none = journalled(short, info, tmp_path / "cut.jsonl", limit=0)
    assert again == whole and none == [], "a finished search measures nothing"


def test_every_candidate_is_told_once_and_only_after_it_is_on_disk(short, info, tmp_path):
    path, told = tmp_path / "journal.jsonl", []

    def emit(record):
        last = read_journal(path, "key")[-1]
        assert record == {"event": "candidate", **last}, "told before it was kept"
        told.append(record)

    for limit in (9, None, None):
        result = on_journal(short, info, path, Measures(Toy(rugged, limit)), emit=emit)
    assert [record["number"] for record in told] == list(range(len(result[1])))
    assert all(c.plain().items() <= told[c.number].items() for c in result[1])


# --- no numbers -----------------------------------------------------------------------------------


def test_a_network_that_overflows_is_right_about_nothing(toy):
    images = toy(24)
    sure = torch.nn.functional.one_hot(images.labels, 3) * 9.0
    overflown = sure.clone()
    overflown[::2] = float("nan")
    overflown[1, 0] = float("inf")
    assert judged(lambda views: sure, images, 8, 24)[0] == 1
    accuracy, probability = judged(lambda views: overflown, images, 8, 24)
    assert accuracy == 11 / 24 and probability == pytest.approx(11 / 24, abs=0.01)


# --- many at once ---------------------------------------------------------------------------------


def in_threads(networks) -> Iterator[Measurement]:
    """Measure side by side."""
    with ThreadPoolExecutor(4) as pool:
        yield from pool.map(Toy(rugged).measure, networks)


def backwards(networks) -> list[Measurement]:
    """Measure the last one first, and hand out all at the end."""
    return [*Toy(rugged)(networks[::-1])][::-1]


@pytest.mark.parametrize("measure", [in_threads, backwards])
@pytest.mark.parametrize("surrogate", [1, 3])
def test_where_and_in_which_order_networks_are_measured_does_not_matter(
    make_params, info, measure, surrogate
):
    over = {"surrogate": surrogate, "finetune": {"steps": 1, "lr": 0.1, "share": 0.5}}
    params = make_params({"search": over})
    here = found_by(params, info, Measures(Toy(rugged), Toy(rugged)))
    assert found_by(params, info, Measures(measure, measure)) == here


def test_whole_generations_are_measured_at_once(short, info):
    batches = []

    def measure(networks):
        batches.append(networks)
        return Toy(rugged)(networks)

    _, candidates = found_by(short, info, Measures(measure))
    assert [n for batch in batches for n in batch] == [c.network for c in candidates]
    labels = [
        {(c.phase, c.iteration, c.generation) for c in candidates if c.network in batch}
        for batch in map(set, batches)
    ]
    assert all(len(label) == 1 for label in labels), "a batch is of one moment of the search"
    bred = [label for labels_ in labels for label in labels_ if label[0] == "bases"]
    assert len(bred) == len(set(bred)) and max(map(len, batches)) > 6


@pytest.mark.parametrize("change", [-1, 1])
def test_a_measure_that_loses_or_invents_results_is_refused(short, info, change):
    def measure(networks):
        results = [*Toy(rugged)(networks)]
        return results[:-1] if change < 0 else [*results, results[0]]

    with pytest.raises(ValueError, match="zip"):
        found_by(short, info, Measures(measure))


def test_a_torn_last_line_is_measured_again(short, info, tmp_path):
    path = tmp_path / "journal.jsonl"
    whole, all_calls = journalled(short, info, path)
    full = path.read_bytes()
    for cut in (
        3,
        200,
        len(full.splitlines()[-1]) + 1,
    ):  # within the last record, and just at its start
        path.write_bytes(full[:-cut])
        result, calls = journalled(short, info, path)
        assert result == whole and calls == all_calls[-1:]
        assert len(path.read_bytes().splitlines()) == len(full.splitlines())


def test_an_untorn_journal_loses_nothing(tmp_path, monkeypatch):
    path, fsync, synced = tmp_path / "journal.jsonl", os.fsync, []
    monkeypatch.setattr(
        os, "fsync", lambda descriptor: synced.append(descriptor) or fsync(descriptor)
    )
    first = Journal(path, "key")
    for i in range(3):
        first.append({"i": i, "score": 0.1 + 0.2})
        assert path.read_bytes().count(b"\n") == 2 + i, (
            "a record must be on disk when append returns"
        )
        assert len(synced) == 2 + i
    first.close()
    assert Journal(path, "key").records == [{"i": i, "score": 0.1 + 0.2} for i in range(3)]


def test_a_full_disk_is_named_by_a_journal_that_ends_with_what_it_did_not_take(tmp_path):
    journal = Journal(tmp_path / "journal.jsonl", "key")
    journal._file.close()
    journal._file = Path("/dev/full").open("ab")  # noqa: SIM115
    with pytest.raises(ValueError, match=r"cannot be written.*free space"), closing(journal):
        journal.append({"network": "x"})


@pytest.mark.parametrize(
    "old",
    [
        b"",
        b"not a journal\n",
        b'{"key": "ke',
        b'{"key": "other"}\n{"network": "x"}\n',
        b"\xff\xfe\n",
    ],
)
def test_a_journal_of_other_work_is_begun_anew(short, info, tmp_path, old):
    path = tmp_path / "journal.jsonl"
    path.write_bytes(old)
    journal = Journal(path, "key")
    assert journal.records == []
    journal.append({"network": "y"})
    journal.close()
    assert Journal(path, "key").records == [{"network": "y"}]
    assert Journal(path, "third").records == [] and path.read_bytes().count(b"\n") == 1


def test_a_search_with_another_key_measures_everything(short, info, tmp_path):
    path = tmp_path / "journal.jsonl"
    whole, all_calls = journalled(short, info, path, key="one")
    assert journalled(short, info, path, key="two") == (whole, all_calls)


# --- infeasible -----------------------------------------------------------------------------------


def test_an_impossible_budget_says_so(make_params, info):
    params = make_params({"scaling": {"budget": 10.0, "tries": 50}})
    with pytest.raises(
        ValueError,
        match=r"scaling\.budget, 10 FLOPs ±30%.*none found in 50 tries; the nearest misses it by",
    ):
        search(params, info)


@pytest.mark.parametrize("stage", [0, 1, 2])
def test_an_empty_scaling_stage_is_named(make_params, params, info, stage):
    stages = [entry.model_dump() for entry in params.scaling.stages]
    stages[stage]["resolutions"] = [30]
    if stage == 0:  # the base's own budget is met at its first resolution, the stage's at none
        stages[0] |= {"resolutions": [8], "tolerance": 1e-6}
    with pytest.raises(ValueError, match=rf"scaling\.stages\[{stage}\]: no strategy comes within"):
        search(make_params({"scaling": {"stages": stages}}), info)


def rare():
    """Return the budget of params whose size 1 has a strategy for 1 in 40 base models."""
    content = read_yaml(ROOT / "params.yaml")
    base = content["scaling"]["stages"][0] | {"tolerance": 0.1}
    size = {"tolerance": 0.05, "depths": [1.2], "widths": [1.0], "resolutions": [9]}
    content["scaling"]["stages"] = [base, size]
    for section in ("supernet", "search"):
        content[section]["stage_weights"] = [1.0, 1.0]
    content["family"] = {"S0": {"multiple": 1, "seed": 0}}
    params = parse(content)
    return Budget(params.space, params.scaling, Task(1, 10))


@pytest.mark.parametrize("seed", range(6))
def test_a_size_for_few_base_models_is_not_refused_by_chance(seed):
    rare().check(np.random.default_rng(seed), draws=800)


def test_too_few_tries_for_a_rare_size_are_refused_and_enough_are_told():
    budget = rare()
    few = replace(budget, scalings=budget.scalings.model_copy(update={"tries": 100}))
    refused = enough_tries(few, 800, r"have a strategy of scaling\.stages\[1\] within 5% of its")
    refused.check(np.random.default_rng(0), 800)


def enough_tries(budget, draws, why):
    """Return a refused budget with as many tries as the refusal asks for."""
    with pytest.raises(ValueError, match=why) as refused:
        budget.check(np.random.default_rng(0), draws)
    tries = int(re.search(r"set scaling\.tries to (\d+) or more", str(refused.value))[1])
    return replace(budget, scalings=budget.scalings.model_copy(update={"tries": tries}))


def test_a_budget_that_a_step_may_miss_is_refused_before_training(long_training):
    """A step draws with its own seed: what it misses once, it misses at every resume."""
    budget, draws = long_training
    why = r"scaling\.tries is 2,000, but only about 0\.\d+% of the space's base models are within"
    enough_tries(budget, draws, why).check(np.random.default_rng(0), draws)


@pytest.fixture
def long_training():
    content = merge(read_yaml(ROOT / "params.yaml"), read_yaml(ROOT / "presets" / "cifar10.yaml"))
    params = parse(merge(content, {"scaling": {"budget": 5.2e6}}))
    return Budget(params.space, params.scaling, Task(3, 10)), supernet.budgeted_draws(params)


def test_an_empty_size_tells_what_comes_nearest():
    budget = rare()
    sizes = list(budget.scalings.stages)
    sizes[1] = sizes[1].model_copy(update={"tolerance": 1e-5})
    scalings = budget.scalings.model_copy(update={"stages": tuple(sizes), "tries": 100})
    with pytest.raises(ValueError, match=r"for any of 132 base models; the nearest, d1\.2-w1-r9"):
        replace(budget, scalings=scalings).check(np.random.default_rng(0))
    near = Budget(budget.space, scalings.model_copy(update={"tries": 7}), Task(1, 10))
    with pytest.raises(ValueError, match=r"any of 7 base models; the nearest, d1\.2-w1-r9, gives"):
        near.draw_of(np.random.default_rng(0), 1)


def opposed(make_params, info):
    """Return params whose stages 1 and 2 fit a base model each, but never the same one."""
    block = {"width": 32, "depth": 2, "stride": 1, "expands": [3], "kernels": [3]}
    one, two = (BaseModel.parse(text) for text in ("k3e3", "k3.3e3"))
    params = make_params(
        {"space": {"stages": [block], "divisor": 1}, "scaling": {"tolerance": 0.9}}
    )
    budget, unscaled = Budget(params.space, params.scaling, Task(1, 3)), Scaling(1.0, 1.0, 8)
    size = sum(budget.spent([(one, unscaled), (two, unscaled)])) / 2
    widths = [round(1 + i / 50, 2) for i in range(200)]
    entry = {"tolerance": 0.05, "depths": [1.0], "resolutions": [8]}
    stages = [
        entry | {"tolerance": 0.9, "widths": [1.0]},
        entry | {"widths": widths},
        entry | {"widths": widths},
    ]
    scaling = {"budget": size, "tolerance": 0.9, "stages": stages}
    budget = budget_of(
        make_params({"space": {"stages": [block], "divisor": 1}, "scaling": scaling}), info
    )
    for stage, (fits, fails) in enumerate(((one, two), (two, one)), start=1):
        offered = (Scaling(1.0, width, 8) for width in widths)
        only = [
            by.width
            for by in offered
            if not budget.miss(fits, by, stage) and budget.miss(fails, by, stage)
        ]
        scaling["stages"][stage] = entry | {"widths": only[:1]}
    return make_params(
        {
            "space": {"stages": [block], "divisor": 1},
            "scaling": scaling,
            "search": {"random_bases": 12},
        }
    )


@pytest.mark.parametrize("seed", range(1, 7))
def test_base_models_are_drawn_until_every_size_has_a_strategy_for_one(monkeypatch, seed):
    monkeypatch.chdir(ROOT)
    params = params_of("photographs")
    budget = Budget(params.space, params.scaling, Task(3, 6))
    sizes = range(len(params.scaling.stages))
    bases = evolution.first_bases(budget, np.random.default_rng(seed), 2)
    generator = np.random.default_rng(seed)
    assert bases[:2] == [budget.draw(generator) for _ in range(2)]
    for size in sizes:
        assert any(budget.feasible(base, size) for base in bases)
        if not any(budget.feasible(base, size) for base in bases[:2]):
            assert len(bases) > 2, "one more, which not every seed takes"


@pytest.mark.parametrize("seed", range(4))
def test_the_first_strategies_leave_base_models_to_choose_among(seed):
    """Scores grow with FLOPs, so that a strategy which spends all of its tolerance looks best."""
    params = load(ROOT / "params.yaml")
    budget = Budget(params.space, params.scaling, Task(1, 10))
    own = [base for base in sampling.walk(params.space) if budget.total_miss(base) == 0]

    def measure(networks):
        for network in networks:
            noise = np.random.default_rng([seed, zlib.crc32(str(network).encode())])
            spent = np.log2(cost.flops(network, budget.task) / params.scaling.budget)
            score = 0.8 + 0.02 * spent + 0.01 * noise.standard_normal()
            yield Measurement(score, score, 0.0)

    ledger = Ledger(params.search, budget, measure, ignore)
    bases = evolution.first_bases(budget, np.random.default_rng(seed), params.search.random_bases)
    strategies = evolution.first_strategies(ledger, bases)
    assert sum(budget.total_miss(base, strategies) == 0 for base in own) >= len(own) / 10


def test_strategies_that_share_no_base_model_are_refused(make_params, info):
    with pytest.raises(
        ValueError,
        match=r"scaling\.stages\[2\]: none of its 1 feasible strategies shares a base model",
    ):
        search(opposed(make_params, info), info, rugged)


def test_a_space_with_one_feasible_base_model_is_searched(make_params, info):
    """Later iterations have nothing new to breed, and keep what they have."""
    block = {"width": 8, "depth": 1, "stride": 1, "expands": [2], "kernels": [3]}
    params = make_params({"space": {"stages": [block]}, "scaling": {"tolerance": 0.9}})
    [size] = Budget(params.space, params.scaling, Task(1, 3)).spent(
        [(BaseModel.parse("k3e2"), Scaling(1.0, 1.0, 8))]
    )
    params = make_params(
        {"space": {"stages": [block]}, "scaling": {"budget": size}, "search": {"iterations": 3}}
    )
    found, _, _ = search(params, info, rugged)
    assert str(found.base) == "k3e2" and len(found.chain) == 3


X, Y, Z = "d1-w1.25-r8", "d1-w1.5-r8", "d1-w2-r8"
MET = {  # scores where a strategy meets the budget: of each base model, of its strategies
    "a better base model": [{X: 0.5, Y: 0.6}, {X: 0.9}],
    "a worse rival": [{X: 0.5, Y: 0.51}, {X: 0.9, Z: 0.1}],
    "a chain of base models": [{X: 0.6, Z: 0.65}, {Z: 0.3, Y: 0.35}, {X: 0.8}],
    "nothing shared": [{Y: 0.5}, {X: 0.4}],
}


@pytest.mark.parametrize("scores", MET.values(), ids=MET.keys())
def test_a_first_strategy_is_no_better_for_the_base_models_it_meets(
    make_params, info, monkeypatch, scores
):
    """The second strategy is better wherever it can be compared."""
    ledger, bases = _with_scores(make_params, info, monkeypatch, scores)
    assert str(evolution.first_strategies(ledger, bases)[1]) == Y


def test_first_strategies_of_the_same_base_models_are_those_of_the_best_mean(
    make_params, info, monkeypatch
):
    generator = np.random.default_rng(0)
    for _ in range(20):
        found = generator.integers(0, 4, (4, 3)) / 10  # ties among them
        scores = [dict(zip((X, Y, Z), row, strict=True)) for row in found.tolist()]
        ledger, bases = _with_scores(make_params, info, monkeypatch, scores)
        chosen = evolution.first_strategies(ledger, bases)[1]
        assert str(chosen) == ranked({by: fmean(row[by] for row in scores) for by in (X, Y, Z)})[0]


def _with_scores(make_params, info, monkeypatch, scores):
    """Return a ledger of S0 and S1, and base models with given scores by strategy, which alone meet
    the budget of S1."""
    same = {"tolerance": 0.9, "depths": [1], "resolutions": [8]}
    stages = [same | {"widths": [1]}, same | {"widths": [1.25, 1.5, 2]}]
    section = {"stage_weights": [1, 1], "surrogate": 1}
    scaling = {"tolerance": 0.9, "stages": stages}
    space = {"divisor": 1}  # each strategy another network
    params = make_params({"scaling": scaling, "search": section, "space": space})
    bases = list(islice(sampling.walk(params.space), len(scores)))
    met = {
        base: {Scaling.parse(by): score for by, score in row.items()}
        for base, row in zip(bases, scores, strict=True)
    }
    known = {
        scale(params.space, base, by): score
        for base, row in met.items()
        for by, score in row.items()
    }

    def feasible(_, base, size):
        return list(met[base]) if size else [Scaling(1.0, 1.0, 8)]

    monkeypatch.setattr(Budget, "feasible", feasible)
    return ledger_of(params, info, Toy(lambda network: known.get(network, 0.0))), bases


def test_evolution_survives_a_generation_that_breeds_nothing(make_params, info, monkeypatch):
    """Bad luck must not lose the base model at hand, nor the one that a last draw finds."""
    monkeypatch.setattr(evolution, "breed", lambda *_: [])
    params = make_params({"scaling": {"tolerance": 0.9}})
    ledger, generator = ledger_of(params, info, Toy(rugged)), np.random.default_rng(0)
    bases = [ledger.budget.draw(generator) for _ in range(4)]
    chosen = evolution.first_strategies(ledger, bases)
    drawn = evolution.evolve(ledger, generator, 1, chosen, None)
    assert ledger.budget.total_miss(drawn, chosen) == 0
    assert evolution.evolve(ledger, generator, 2, chosen, drawn) == drawn


# --- scoring --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def scorer(make_params, toy):
    def make(batch=512, coupling="left", train=None, select=None):
        params = make_params({"search": {"batch": batch}})
        net = elastic.build(
            params.space, params.scaling, Task(1, 3), coupling, torch.Generator().manual_seed(0)
        ).eval()
        with torch.no_grad():
            net.weights["classifier/weight"].mul_(50)
        return Scorer(net, train or toy(96), select or toy(53, seed=1), params.search)

    return make


def values(measurement):
    return measurement.accuracy, measurement.probability


def test_few_images_are_the_first_of_select(params, scorer, toy):
    """Two fidelities: a candidate's score is that of the first images, a finalist's of all."""
    select, network = toy(60, seed=1), sampled(params, 1, 0)[0][0]
    full = scorer(select=select)

    def on(count):
        return values(replace(full, images=count).measure(network))

    first = type(select)(select.array[:20], select.labels[:20], select.mean, select.std)
    assert on(20) == values(scorer(select=first).measure(network))
    assert on(20) != on(60) == on(0) == on(1000)


@pytest.mark.parametrize("coupling", ["left", "bilateral"])
def test_a_score_depends_on_the_network_alone(params, scorer, coupling):
    networks = [network for network, _ in sampled(params, 8, seed=3)]
    first = scorer(coupling=coupling)
    straight = [values(one) for one in first(networks)]
    backward = [values(one) for one in first(networks[::-1])][::-1]
    apart = [values(scorer(coupling=coupling).measure(network)) for network in networks]
    assert straight == backward == apart
    small = [values(one) for one in scorer(batch=7, coupling=coupling)(networks)]
    assert [accuracy for accuracy, _ in small] == [accuracy for accuracy, _ in straight]
    assert [p for _, p in small] == pytest.approx([p for _, p in straight], abs=1e-5)
    assert len({p for _, p in straight}) > 4, "the test is blind if all networks score alike"


def test_a_score_is_the_calibrated_childs(params, scorer, toy):
    network = sampled(params, 1, seed=4)[0][0]
    shared = scorer()
    child = Child(network, Task(1, 3))
    child.weights.load_state_dict(shared.elastic.slices(network))
    calibration, select = next(toy(96).resized(network.resolution, 32)), toy(53, seed=1)
    child.calibrate([calibration])
    with torch.no_grad():
        logits = child.eval()(next(select.resized(network.resolution, 53)))
    result = shared.measure(network)
    assert result.accuracy == (logits.argmax(1) == select.labels).double().mean().item()
    own = logits.softmax(1)[torch.arange(53), select.labels].mean().item()
    assert result.probability == pytest.approx(own, abs=1e-5) and result.seconds > 0


def test_scoring_calibrates_on_train_and_tests_on_select(params, scorer, toy):
    network = sampled(params, 1, seed=4)[0][0]
    usual = values(scorer().measure(network))
    assert values(scorer(train=toy(96, seed=9)).measure(network)) != usual
    assert values(scorer(select=toy(53, seed=9)).measure(network)) != usual


def test_features_tell_networks_apart():
    """Depth, width, kernels, expansion and resolution each move the surrogate's view."""
    plain = Network(8, 3, 1, 4, (Block((3, 3), 1, 2, 8),), 16, 0.25, "expanded", "relu")
    others = [
        Network(9, 3, 1, 4, (Block((3, 3), 1, 2, 8),), 16, 0.25, "expanded", "relu"),
        Network(8, 3, 1, 4, (Block((3, 5), 1, 2, 8),), 16, 0.25, "expanded", "relu"),
        Network(8, 3, 1, 4, (Block((3, 3, 3), 1, 2, 8),), 16, 0.25, "expanded", "relu"),
        Network(8, 3, 1, 4, (Block((3, 3), 1, 3, 8),), 16, 0.25, "expanded", "relu"),
        Network(8, 3, 1, 8, (Block((3, 3), 1, 2, 12),), 16, 0.25, "expanded", "relu"),
    ]
    pairs = [(network, cost.flops(network, Task(1, 3))) for network in (plain, *others)]
    model = Surrogate.fit(pairs, [0.5, 0.6, 0.7, 0.8, 0.9, 1.0])
    assert len(set(model.predict(pairs))) == 6
