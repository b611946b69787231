"""The benchmarks' own reasoning: equal cost, fair counting, intervals, an honest report."""

import json
import re
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import product
from pathlib import Path
from threading import Event

import numpy as np
import pytest
import torch
from scipy import stats

from bench import method
from bench.invented import FAMILIES, NETWORKS, invented_families, invented_networks, lay
from bench.method import cost as bench_cost
from bench.method import (
    family,
    lean,
    markdown,
    noise,
    ownlaw,
    priors,
    rank,
    regressions,
    report,
    scripts,
    statistics,
    surface,
    tablefiles,
    tablelaws,
    tablereport,
    tables,
    tablesaid,
    tuning,
)
from bench.method import lab as lab_module
from bench.method.lab import Lab
from bench.method.match import equal_cost
from bench.method.tablefiles import Networks
from scalenet.data import store
from scalenet.laws.accuracy import Point
from scalenet.laws.intervals import Prediction
from scalenet.nets import elastic
from scalenet.records import files
from scalenet.records.documents import Member
from scalenet.search.scoring import Measurement
from scalenet.space import cost
from scalenet.space.network import Network
from scalenet.space.scale import scale, smallest
from scalenet.space.scaling import BaseModel, Scaling
from scalenet.training import supernet

ROOT = Path(__file__).parents[1]


@pytest.fixture
def lab(make_params, info, tmp_path):
    """Return a lab with prepared (imaginary) images."""
    made = Lab(make_params(), tmp_path / "lab")
    info.write(made.paths.data / "info.json")
    return made


def test_a_baseline_costs_what_ours_does(lab):
    generator = np.random.default_rng(0)
    for stage in range(3):
        for _ in range(5):
            base = lab.budget.draw(generator)
            options = lab.budget.feasible(base, stage)
            if not options:
                continue
            flops = round(1.15 * lab.budget.spent([(base, options[-1])])[0])
            network = equal_cost(lab, lab.params.space, base, options[-1], flops)
            assert cost.flops(network, lab.task) == pytest.approx(
                flops, rel=0.02
            )  # tiny networks have gaps
            assert abs(network.resolution - options[-1].resolution) <= 3


def test_the_nearest_relative_is_the_strategy_itself(lab):
    base, by = BaseModel.parse("k3e1-3.5e2-3e3"), Scaling(1.0, 1.25, 11)
    flops = cost.flops(
        scale(lab.params.space.model_copy(update={"divisor": 1}), base, by), lab.task
    )
    assert equal_cost(lab, lab.params.space, base, by, flops).resolution == 11


def test_a_cost_out_of_reach_is_refused(lab):
    with pytest.raises(ValueError, match="no relative comes near 1000000000 FLOPs"):
        equal_cost(
            lab, lab.params.space, BaseModel.parse("k3e1-3e2-3e3"), Scaling(1.0, 1.0, 8), 10**9
        )


def test_efficientnets_law_is_its_own(lab):
    assert family.law(lab, 1) == Scaling(1.0, 1.0, 8)
    assert family.law(lab, 8) == Scaling(1.728, 1.331, 12)  # 1.2³, 1.1³, 8·1.15³


def test_a_size_of_its_own_is_as_large_as_the_law_would_make_it(lab):
    own = family.one_shot_lab(lab, 4)
    assert [stage.width for stage in own.params.space.stages] == [
        8,
        12,
        12,
    ]  # 1.21 times 4 8 8, to multiples of 4
    assert [stage.depth for stage in own.params.space.stages] == [2, 5, 3]  # 1.44 times 1 3 2, up
    assert own.params.scaling.budget == 4 * lab.params.scaling.budget and own.home == lab.home
    assert (own.root / "artifacts/data/info.json").exists(), "on the same images"


def test_variants_share_what_they_have_in_common(lab):
    other = lab.variant({"supernet": {"sampling": "uniform"}})
    assert other.root != lab.root and other.variant({}).root == other.root
    assert lab._file("n", 0) == other._file("n", 0) != lab._file("n", 1)


@pytest.mark.parametrize("text", ["S1", "S1=", "S9=7", "S1=4;S2=3", "S1=-1"])
def test_more_seeds_for_what_is_no_size_are_refused(text):
    with pytest.raises(SystemExit, match="give a number of seeds for sizes of S1, S2: S1=12,S2=8"):
        family.seeds_of(text, ["S1", "S2"])
    assert family.seeds_of("", ["S1"]) == {} and family.seeds_of("S1=4,S2=12", ["S1", "S2"]) == {
        "S1": 4,
        "S2": 12,
    }


def test_variants_cost_what_the_default_does(make_params, info, tmp_path):
    made = Lab(
        make_params(
            {"supernet": {"recipe": {"steps": 60, "warmup": 6, "log": 2, "checkpoint": 4}}}
        ),
        tmp_path,
    )
    info.write(made.paths.data / "info.json")
    for over in ({"sandwich": True, "sampled": 1}, {"sampled": 4}):
        other = rank.variant(made, over)
        assert bench_cost.training_macs(other) == pytest.approx(
            bench_cost.training_macs(made), rel=0.15
        ), "in few steps"
        assert other.params.supernet.recipe.steps < 60 and other.params.supernet.recipe.warmup < 6
    double = rank.variant(made, {"recipe": {"steps": 2.0}})
    assert (double.params.supernet.recipe.steps, double.params.supernet.recipe.warmup) == (120, 12)
    assert (
        rank.variant(made, {}).params
        == made.params
        == rank.variant(made, {"sampling": "hierarchical"}).params
    )


def test_paired_differences_are_those_of_scipy():
    ours, theirs = [0.50, 0.52, 0.49], [0.47, 0.48, 0.48]
    found = statistics.paired(ours, theirs)
    assert found["mean"] == pytest.approx(0.08 / 3) and found["p"] == pytest.approx(
        0.0942, abs=1e-3
    )
    assert found["low"] < 0 < found["high"], "three seeds that disagree are not beyond noise"
    assert statistics.paired([0.5], [0.4]) == {
        "mean": pytest.approx(0.1),
        "low": None,
        "high": None,
        "p": None,
    }
    assert statistics.paired([0.5, 0.6], [0.5, 0.6])["p"] is None


def test_kendall_is_scipys():
    generator = np.random.default_rng(0)
    x, y = generator.integers(0, 6, 30), generator.integers(0, 6, 30)
    assert statistics.kendall(x, y)["tau"] == pytest.approx(stats.kendalltau(x, y).statistic)
    assert statistics.kendall([1, 1, 1], [1, 2, 3]) == {"tau": None, "low": None, "high": None}


def test_kendall_has_an_interval_that_shrinks_with_networks():
    generator = np.random.default_rng(0)

    def width(count):
        truth = generator.random(count)
        found = statistics.kendall(truth + 0.6 * generator.random(count), truth, draws=300)
        assert found["low"] <= found["tau"] <= found["high"]
        return found["high"] - found["low"]

    assert width(200) < width(12)


def result(name, **content):
    head = {
        "command": f"python -m bench.method.{name} --preset p",
        "date": "2026-01-01",
        "revision": "abc",
    }
    return (
        head | {"machine": {"processor": "cpu"}, "versions": {"torch": "2"}, "seeds": 2} | content
    )


def arm(accuracies, networks=None, flops=2e6):
    rows = {"networks": networks or ["n"] * len(accuracies), "flops": [flops] * len(accuracies)}
    return {"S1": rows | {"accuracies": accuracies, **statistics.mean(accuracies)}}


def test_the_report_says_which_differences_are_beyond_noise(tmp_path):
    ours = "r12-stem_k3_s1_c8-ir_k3.5_s2_e4_c16-head_c64-se0.25e-hard_swish"
    theirs = ours.replace("r12", "r9").replace("k3.5", "k3.5.5")
    member = {"name": "S1", "flops": 2e6, "base": "k3e1", "scaling": "d1-w1-r8"}
    arms = {
        "ours": arm([0.49, 0.50, 0.51], [ours] * 3),
        "EfficientNet's law": arm([0.44, 0.45, 0.46], [theirs] * 3, 1.99e6),
        "random base": arm([0.44, 0.50, 0.53], ["c", "d", "e"]),
        "random strategies": arm([0.49, 0.50, 0.51], [ours] * 3),
        "one-shot per size": arm([0.54, 0.55, 0.56], ["f"] * 3),
    }
    (tmp_path / "p").mkdir()
    (tmp_path / "p/family.json").write_text(
        json.dumps(result("family", arms=arms, members=[member]))
    )
    text = report.report(tmp_path, tmp_path)
    assert "`python -m bench.method.family --preset p`: cpu, torch 2, 2026-01-01, code abc." in text
    assert "differ by 1.00 [0.64, 2.20] points" in text and "6 degrees of freedom" in text
    assert (
        "EfficientNet's law: +5.0 [+3.0, +7.0] points on average over 1 size; "
        "ours better beyond noise at 1, worse at 0" in text
    )
    assert "ours S1 2 at 12 px; EfficientNet's law S1 3 at 9 px" in text
    assert "random base: +1.0 " in text and "at 0, worse at 0" in text
    assert "| random strategies | the same network |" in text
    assert "one-shot per size: -5.0 " in text and "at 0, worse at 1" in text
    assert "within 0.5% of ours in FLOPs" in text and "for all 3 comparisons" in text
    assert "](results-p.svg)" in text and ">S1<" in (tmp_path / "results-p.svg").read_text()
    assert "| ours | 50.0 [47.5, 52.5] n=3 |" in text and "S1 (2 M)" in text


def test_two_seeds_of_a_random_arm_give_no_interval():
    two = {"ours": arm([0.49, 0.50], ["o"] * 2), "random base": arm([0.44, 0.53], ["c", "d"])}
    pooled = noise.of_trainings({"arms": two})
    rows = noise.differences({"arms": two}, pooled)["random base"]
    found = noise.mean_over_sizes({"arms": two}, "random base", rows, pooled)
    assert found == {"mean": pytest.approx(0.01), "low": None, "high": None}


def test_noises_of_sizes_are_held_against_one_another():
    rng = np.random.default_rng(0)
    samples = [rng.normal(0, scale, 30) for scale in (1, 1.2, 3)]
    own = [statistics.pooled([sample]) for sample in samples]
    assert statistics.bartlett(own) == pytest.approx(stats.bartlett(*samples).pvalue)
    assert statistics.bartlett(own[:2]) > 0.05 > 1e-4 > statistics.bartlett(own)
    assert statistics.bartlett(own[:1]) is None


def test_a_random_arms_seeds_are_its_degrees_of_freedom():
    """A random base is the same at every size: its sizes are no draws of their own."""
    names = [f"S{i}" for i in range(4)]
    ours = {name: arm([0.50, 0.51, 0.49], [f"o{name}"] * 3)["S1"] for name in names}
    theirs = {
        name: arm([0.40, 0.48, 0.47], [f"{name}{seed}" for seed in range(3)])["S1"]
        for name in names
    }
    lone = {name: arm([0.40], [f"l{name}"])["S1"] for name in names}
    found = {"arms": {"ours": ours, "random base": theirs, "random strategies": lone}}
    pooled = noise.of_trainings(found)
    rows = noise.differences(found, pooled)
    assert all(row["dof"] < 3 for row in rows["random base"].values()), "three bases"
    assert "random strategies" not in rows, "one network does not tell what others would reach"
    mean = noise.mean_over_sizes(found, "random base", rows["random base"], pooled)
    base = stats.sem([0.40, 0.48, 0.47]) * stats.t.ppf(0.975, 2)
    assert mean["mean"] == pytest.approx(0.05)
    assert mean["high"] - mean["mean"] > 0.9 * base, "four sizes of a base are one base"


def test_the_mean_over_sizes_holds_the_truth_as_often_as_it_says():
    """Simulated: bases differ, each the same at all sizes, and trainings have their noise."""
    generator, inside = np.random.default_rng(0), 0
    names = [f"S{i}" for i in range(4)]
    for _ in range(300):
        bases = generator.normal(0, 0.012, 3)
        arms = {
            "ours": {
                name: arm(generator.normal(0.5, 0.008, 4).tolist(), ["a" + name] * 4)["S1"]
                for name in names
            },
            "random base": {
                name: arm((0.5 + bases + generator.normal(0, 0.008, 3)).tolist(),
                          [f"{name}{seed}" for seed in range(3)])["S1"]
                for name in names
            },
        }  # fmt: skip
        pooled = noise.of_trainings({"arms": arms})
        rows = noise.differences({"arms": arms}, pooled)["random base"]
        mean = noise.mean_over_sizes({"arms": arms}, "random base", rows, pooled)
        inside += mean["low"] < 0 < mean["high"]
    assert 0.92 < inside / 300 < 0.98


def test_what_others_trained_is_said(lab, tmp_path):
    """Trainings on file are of the code that made them, whoever uses them."""
    network = scale(lab.params.space, BaseModel.parse("k3e1-3.5e2-3e3"), Scaling(1.0, 1.0, 8))
    for seed, revision in enumerate(("abc", "def")):
        outcome = {"accuracy": 0.5, "revision": revision}
        files.write_json(lab._file(network, seed), outcome)
    lab.trained([(network, 0), (network, 1)])
    assert lab.variant({"search": {"random_bases": 1}}).trained_by == {"abc", "def"}
    head = result("rank", trained_by=["abc", "def"])
    assert markdown.origin(head).endswith("code abc, its trainings abc, def.\n")
    assert markdown.origin(head | {"trained_by": ["abc"]}).endswith("code abc.\n")


def test_wrong_options_of_a_ranking_are_refused_before_it_trains(lab):
    assert rank.sizes_of("", lab) == [0, 1, 2] and rank.sizes_of("2,0", lab) == [2, 0]
    with pytest.raises(SystemExit, match="--stages is '12'; give sizes of 0 to 2"):
        rank.sizes_of("12", lab)
    with pytest.raises(SystemExit, match="--variants is 'default,sandwiched'; give some of"):
        rank.variants_of("default,sandwiched")


def test_a_ranking_scores_as_the_search_does(lab, monkeypatch):
    """All but finalists are scored on search.images of select, those on all of it."""
    seen = []
    few = lab.variant({"search": {"images": 5}})
    monkeypatch.setattr(
        rank, "_scored", lambda lab, drawn, name, needs, made: seen.append((name, needs)) or []
    )
    names = [name for name, _ in rank.scored(few, [], ["default"])]
    assert names[:2] == ["default", rank.EVERY_IMAGE]
    assert [needs[2] for _, needs in seen[:2]] == [5, 0] and seen[0][0] != seen[1][0]


def test_single_trainings_are_not_compared(tmp_path):
    member = {"name": "S1", "flops": 2e6, "base": "k3e1", "scaling": "d1-w1-r8"}
    network = "r12-stem_k3_s1_c8-ir_k3.5_s2_e4_c16-head_c64-se0.25e-hard_swish"
    law = arm([0.4], [network.replace("r12", "r9")])
    arms = {"ours": arm([0.5], [network]), "EfficientNet's law": law}
    (tmp_path / "p").mkdir()
    (tmp_path / "p/family.json").write_text(
        json.dumps(result("family", arms=arms, members=[member]))
    )
    text = report.report(tmp_path, tmp_path)
    assert "trained once" in text and "ours less" not in text


# --- noise ----------------------------------------------------------------------------------------


def test_noise_is_pooled_over_networks_and_a_shared_network_counts_once():
    arms = {
        "ours": arm([0.1, 0.2, 0.3], ["a"] * 3),
        "same": arm([0.1, 0.2], ["a"] * 2),
        "random": arm([0.5, 0.9], ["b", "c"]),
    }
    found = noise.of_trainings({"arms": arms})
    assert (found["noise"], found["dof"]) == (pytest.approx(0.1), 2)
    assert found["low"] < 0.1 < found["high"]
    with pytest.raises(ValueError, match="trained more than once"):
        statistics.pooled([[0.5], [0.6]])


def test_a_spread_that_is_all_noise_leaves_nothing_to_rank():
    few = {"noise": 0.01, "dof": 50}
    generator = np.random.default_rng(0)
    trained = 0.5 + 0.01 * generator.standard_normal(30)
    assert statistics.ceiling(trained, few)["tau"] < 0.3
    wide = statistics.ceiling(trained + 0.1 * generator.standard_normal(30), few)
    assert wide["low"] < wide["tau"] < wide["high"] <= 1 and wide["tau"] > 0.9
    assert wide["true"] < wide["spread"]


def test_the_ceiling_is_what_a_perfect_score_reaches():
    """Simulated: true accuracies as the score, noisy ones as what is ranked."""
    generator = np.random.default_rng(1)
    truth = 0.02 * generator.standard_normal(1500)
    trained = truth + 0.02 * generator.standard_normal(1500)
    found = statistics.ceiling(trained, {"noise": 0.02, "dof": 10**6})
    assert found["tau"] == pytest.approx(stats.kendalltau(truth, trained).statistic, abs=0.03)


def test_holms_correction_is_the_textbooks():
    assert statistics.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert statistics.holm([0.6, 0.9]) == [1.0, 1.0] and statistics.holm([]) == []


def test_a_difference_is_tested_with_the_pooled_noise():
    pooled, wider = {"noise": 0.01, "dof": 40}, {"noise": 0.03, "dof": 4}
    found = statistics.difference([0.50, 0.52], [0.49, 0.49], pooled, pooled)
    assert found["mean"] == pytest.approx(0.02) and found["error"] == pytest.approx(0.01)
    assert found["p"] == pytest.approx(2 * stats.t.sf(2, 40))
    other = statistics.difference([0.50, 0.52], [0.49, 0.49], pooled, wider)
    assert other["p"] > found["p"] and 4 < other["dof"] < 40


def test_what_needs_no_weights_is_ranked_too(lab):
    """FLOPs rank networks whose accuracy is their FLOPs; a surrogate has to be asked for it."""
    drawn = rank.networks(lab, 8)
    costs = [cost.flops(network, lab.task) for _, network in drawn]
    trained = [0.5 + 0.05 * np.log(flops / costs[0]) for flops in costs]
    rows = [
        {"stage": stage, "network": str(network), "trained": accuracy}
        for (stage, network), accuracy in zip(drawn, trained, strict=True)
    ]
    ranked = {"networks": rows, "task": list(lab.task)}
    found = {name: noise.taus(ranked, s) for name, s in noise.baselines(ranked).items()}
    assert found["FLOPs alone"]["all"]["tau"] == pytest.approx(1)
    assert found["surrogate of trained networks"]["all"]["tau"] > 0.8
    assert set(noise.ceilings(ranked, {"noise": 0.01, "dof": 9})) == {"0", "1", "2", "all"}


def test_more_seeds_are_for_the_comparison_that_they_decide(lab, monkeypatch):
    by = {"ours": 1.0, "EfficientNet's law": 1.25, "random base": 1.5, "random strategies": 1.0}
    base = BaseModel.parse("k3e1-3.5e2-3e3")
    names = {
        arm: scale(lab.params.space, base, Scaling(1.0, width, 8)) for arm, width in by.items()
    }
    monkeypatch.setattr(
        family, "ARMS", {arm: lambda *_, name=name: name for arm, name in names.items()}
    )
    monkeypatch.setattr(
        Lab,
        "trained",
        lambda _, jobs: {job: {"accuracy": len(str(job[0])) / 1e3 + job[1]} for job in jobs},
    )
    sizes = [Member.model_construct(name=name, multiple=m) for name, m in (("S1", 2), ("S5", 32))]
    more = family.seeds_of("S1=4", ["S1", "S5"])
    rows = family.compared(lab, sizes, 2, more, family.others_of("", lab, sizes))
    counts = {arm: len(row["S1"]["accuracies"]) for arm, row in rows.items()}
    assert counts == {"ours": 4, "EfficientNet's law": 4, "random base": 2, "random strategies": 2}
    assert rows["ours"]["S1"]["networks"][:2] == rows["random strategies"]["S1"]["networks"]
    at_s5 = {arm for arm, row in rows.items() if "S5" in row}
    assert at_s5 == set(family.PRINCIPAL), "the others are trained at what was searched"
    named = family.compared(lab, sizes, 2, more, family.others_of("S5", lab, sizes))
    assert set(named["random base"]) == {"S5"} and set(named["ours"]) == {"S1", "S5"}
    alone = family.compared(lab, sizes, 2, more, family.others_of("none", lab, sizes))
    assert set(alone) == set(family.PRINCIPAL)
    with pytest.raises(SystemExit, match="--others is 'S9'; give none, or sizes of S1, S5: S5"):
        family.others_of("S9", lab, sizes)


def test_a_random_base_goes_beyond_the_search_and_random_strategies_do_not(lab, monkeypatch):
    strategies = [Scaling(1.0, 1.0, 8)]
    monkeypatch.setattr(Lab, "found", type("Found", (), {"strategies": strategies}))
    base = lab.budget.draw(np.random.default_rng(0))
    by = Scaling(1.2, 1.6, 14)
    flops = cost.flops(scale(lab.params.space, base, by), lab.task)
    beyond = Member.model_construct(name="S5", multiple=32, base=base, scaling=by, flops=flops)
    network = family.random_base(lab, beyond, 0)
    assert cost.flops(network, lab.task) == pytest.approx(flops, rel=0.05)
    assert family.random_strategies(lab, beyond, 0) is None


# --- search efficiency ----------------------------------------------------------------------------


def by_hash(networks):
    """Score networks by their names: a landscape without structure."""
    values = [int(files.digest(str(network)), 16) % 10**6 / 10**6 for network in networks]
    return [Measurement(value, value, 0.0) for value in values]


@pytest.mark.parametrize(
    "name", ["random", "plain evolution", "Markov chain", "Markov chain, surrogate"]
)
def test_every_search_spends_its_evaluations_and_no_more(lab, name):
    efficiency = pytest.importorskip("bench.method.efficiency", reason="needs the bench extra")
    for allowed in (1, 40):
        best = efficiency.traced(lab, by_hash, name, 0, allowed)
        assert len(best) == allowed and best == sorted(best)
    assert best[-1] > 0.3 and efficiency.traced(lab, by_hash, name, 0, 40) == best
    assert efficiency.traced(lab, by_hash, name, 1, 40) != best


def test_a_small_space_ends_a_search(make_params, info, tmp_path):
    efficiency = pytest.importorskip("bench.method.efficiency", reason="needs the bench extra")
    stages = [{"width": 8, "depth": 1, "stride": 1, "expands": [1], "kernels": [3, 5]}]
    scaling = {
        "tolerance": 0.9,
        "tries": 20,
        "stages": [{"tolerance": 0.9, "depths": [1.0], "widths": [1.0], "resolutions": [8]}],
    }
    over = {"stage_weights": [1]}
    params = make_params(
        {
            "space": {"stages": stages},
            "scaling": scaling,
            "search": over,
            "supernet": {"stage_weights": None},
            "family": {"S0": {"multiple": 1, "seed": 0}},
        }
    )
    small = Lab(params, tmp_path)
    info.write(small.paths.data / "info.json")
    for name in efficiency.SEARCHES:
        assert len(efficiency.traced(small, by_hash, name, 0, 100)) == 2, (
            "two kernels are all there is"
        )


def test_states_are_the_same_whatever_absent_layers_say(lab):
    efficiency = pytest.importorskip("bench.method.efficiency", reason="needs the bench extra")
    trace = efficiency.Trace(10)
    states = efficiency.States(efficiency.ledger(lab, by_hash, trace))
    x = np.random.default_rng(0).integers(0, states.xu + 1, (50, states.n_var))
    plain = states.canonical(x.astype(float) + 0.2)
    assert [states.decode(row) for row in plain] == [states.decode(row) for row in x]
    assert [states.encode(*states.decode(row)) for row in plain] == plain.tolist()
    assert (states.canonical(plain) == plain).all() and (plain <= x).all() and (plain != x).any()


def test_training_costs_three_passes_of_what_is_drawn(lab):
    drawn = supernet.sampled_flops(lab.params, lab.task, "hierarchical", 10**6)
    recipe = lab.params.supernet.recipe
    assert len(drawn) == recipe.steps * lab.params.supernet.sampled
    assert bench_cost.training_macs(lab) == 3 * recipe.batch * sum(flops for _, _, flops in drawn)


def test_fine_tuned_candidates_cost_their_training_too(lab):
    lab.paths.search.mkdir(parents=True)
    (lab.paths.search / "candidates.csv").write_text("flops,phase\n1000,bases\n10,finetuned\n")
    search = lab.params.search.model_copy(
        update={"finetune": lab.params.search.finetune.model_copy(update={"steps": 7})}
    )
    tuning = Lab(lab.params.model_copy(update={"search": search}), lab.root)
    images, batch = search.calibration + lab.info.counts["select"], lab.params.supernet.recipe.batch
    assert bench_cost.scoring_macs(tuning) == 1010 * images + 10 * 3 * 7 * batch


def test_a_score_is_remembered_and_may_be_of_fewer_images(lab, toy, monkeypatch):
    for name, count in (("train", 40), ("select", 30)):
        split = toy(count)
        arrays = {
            "pixels": split.pixels(torch.arange(count)).numpy(),
            "labels": split.labels.numpy(),
        }
        store.write(lab.paths.data / f"{name}.npz", **arrays)
    net = elastic.build(
        lab.params.space, lab.params.scaling, lab.task, "left", torch.Generator().manual_seed(0)
    )
    elastic.write(lab.paths.supernet / "weights.pt", net, "left")
    files.write_json(lab.root / "seconds.json", {"supernet": 1.0})
    sizes = []

    def made(net, train, select):
        sizes.append((len(train), len(select)))
        return by_hash

    network = smallest(lab.params.space, lab.params.scaling)
    for images in (None, 12):
        measure, journal = lab.remembered(f"scores-{images}", [1], made, images)
        [once], [again] = measure([network]), measure([network])
        assert once is again
        journal.close()
    assert sizes == [(40, 30), (40, 12)]
    monkeypatch.setattr("test_bench.by_hash", None)
    measure, journal = lab.remembered("scores-12", [1], made, 12)
    journal.close()
    [remembered] = measure([network])
    assert remembered.accuracy > 0, "from the journal"
    assert rank.finetuned(lab, [(0, network)])[0]["network"] == str(network)


def test_two_scripts_run_a_stage_once(lab, monkeypatch):
    """The second one waits, and finds it done."""
    begun, ran = Event(), []

    def stage(root, name, *_):
        ran.append(name)
        begun.set()
        time.sleep(0.3)

    monkeypatch.setattr(lab_module, "run_stage", stage)
    with ThreadPoolExecutor() as pool:
        one = pool.submit(lab.staged, "supernet")
        begun.wait(10)
        other = pool.submit(replace(lab).staged, "supernet")
        one.result(), other.result()
    assert ran == ["supernet"] and set(lab.seconds()) == {"supernet"}


def test_an_interrupted_stages_seconds_add_up(lab, monkeypatch):
    def slow(*_):
        time.sleep(0.05)
        if calls.append(1) or len(calls) == 1:
            raise KeyboardInterrupt

    calls: list[int] = []
    monkeypatch.setattr("bench.method.lab.run_stage", slow)
    with pytest.raises(KeyboardInterrupt):
        lab.staged("supernet")
    assert lab.seconds() == {} and lab.staged("supernet").seconds()["supernet"] >= 0.1
    assert lab.staged("supernet") and len(calls) == 2, "what is done is not done again"


@pytest.mark.parametrize("form", ["normal", "most near the best", "noise of the worst"])
def test_the_ceiling_of_many_networks_is_that_of_their_form(form):
    rng = np.random.default_rng(3)
    noise = np.full(800, 0.002)
    if form == "normal":
        truth = 0.8 + 0.006 * rng.standard_normal(800)
    else:
        truth = 0.9 - 0.006 * rng.exponential(1, 800) ** 2
    if form == "noise of the worst":
        noise = 0.001 + 0.1 * (0.9 - truth)
    trained = truth[:, None] + noise[:, None] * rng.standard_normal((800, 3))
    real = stats.kendalltau(truth, trained[:, 0]).statistic
    found = statistics.shaped_ceiling(trained)
    assert found["tau"] == pytest.approx(real, abs=0.03)
    assert found["true"] == pytest.approx(truth.std(), rel=0.05)
    normal = statistics.ceiling(trained[:, 0], statistics.pooled(trained))["tau"]
    assert abs(normal - real) < 0.02 if form == "normal" else normal - real > 0.06


def test_equal_networks_leave_a_perfect_score_nothing_to_rank():
    assert statistics.shaped_ceiling([[0.7, 0.7]] * 5)["tau"] == 0
    assert statistics.shaped_ceiling([[0.69, 0.71], [0.71, 0.69], [0.7]])["tau"] == 0
    assert statistics.shaped_ceiling([[0.7], [0.8, 0.9]]) is None


# --- public tables --------------------------------------------------------------------------------


def test_a_table_is_read_by_the_schema_beside_it(tmp_path):
    lay(tmp_path, "fam", invented_families(["Great", "Grand", "Other-Net"]), FAMILIES)
    lay(tmp_path, "nets", invented_networks(), NETWORKS)
    tables = tablefiles.read(tmp_path, tablefiles.SCHEMAS)
    assert [(f.name, f.lineage) for f in tables["fam"]][2:5] == [
        ("Grand a", "Great"),
        ("Grand b", "Great"),
        ("Other-Net a", "Other"),
    ]
    first = tables["fam"][0].members
    assert [m.spent for m in first] == pytest.approx([1e8 * 2**i for i in range(5)])
    nets = tables["nets"]
    assert nets.choices.shape == (81, 4) and nets.accuracies.shape == (81, 2)
    assert nets.scores[nets.known[2, 2, 2, 2]] == pytest.approx(
        0.7 + 0.08 * 2**0.5 + 0.04, abs=0.01
    )


def test_choices_may_be_columns_of_numbers_or_words(tmp_path):
    rows = [
        {"width": width, "kind": kind, "first": 70, "second": 71 + width, "mmacs": 10 * width}
        for width, kind in product((0.5, 10, 2), ("b", "a"))
    ]
    schema = NETWORKS.replace("[layers]", "[width, kind]").replace("digits: true", "digits: false")
    lay(tmp_path, "nets", rows, schema.replace("mmacs]", "mmacs, kind]"))
    table = tablefiles.read(tmp_path, tmp_path)["nets"]
    assert table.choices.tolist() == [[0, 1], [0, 0], [2, 1], [2, 0], [1, 1], [1, 0]]


def test_a_table_of_few_of_its_networks_is_searched_unless_they_are_too_few(tmp_path, params):
    tablesearch = pytest.importorskip("bench.method.tablesearch", reason="needs the bench extra")
    rows = list(invented_networks(6))
    lay(tmp_path, "nets", rows[5::40], NETWORKS)
    table = tablefiles.read(tmp_path, tmp_path)["nets"]
    found = tablesearch.compare(table, params, 1, 8)
    assert set(found["reached"]) == set(tablesearch.SEARCHES)
    choices = np.vstack([[7] * 6, table.choices[1:]])  # a corner of 8 to the power of 6 networks
    with pytest.raises(ValueError, match=r"one in 137\d\d of the networks"):
        tablesearch.compare(replace(table, choices=choices), params, 1, 8)


def test_rows_of_one_network_are_one_evaluation(tmp_path):
    tablespace = pytest.importorskip("bench.method.tablespace", reason="needs the bench extra")
    rows = list(invented_networks(2))
    lay(tmp_path, "nets", [*rows, rows[-1] | {"layers": "30"}], NETWORKS)
    table = tablefiles.read(tmp_path, tablefiles.SCHEMAS)["nets"]
    assert len(table.choices) == 10 and len(table.scores) == 9
    lookups = tablespace.Lookups(table, 1)
    assert lookups.score((2, 2)) == lookups.score((3, 0)) and len(lookups.best) == 1
    with pytest.raises(tablespace.Spent):
        lookups.score((0, 0))


@pytest.mark.parametrize(
    "schema, reason",
    [
        (None, "no schema says what its columns are"),
        (FAMILIES.replace("top1", "top5"), "has no column top5; its columns are name, gmacs, top1"),
        (FAMILIES.replace("families", "grid"), "kind is grid; give families or networks"),
        (FAMILIES.replace("kind: families\n", ""), "kind is None; give families or networks"),
        (FAMILIES + "order: 1\n", "order: unknown key; allowed here: accuracy, family, flops"),
        (FAMILIES.replace("lineages: {Grand: Great}", ""), "lineages: missing"),
    ],
)
def test_a_table_that_cannot_be_read_says_what_to_change(tmp_path, schema, reason):
    lay(tmp_path, "fam", invented_families(["A"]), schema)
    with pytest.raises(ValueError, match=reason):
        tablefiles.read(tmp_path, tmp_path)


def fam(tmp_path, text, schema=FAMILIES, encoding="utf-8"):
    """Lay a table of families as a text, and read it."""
    (tmp_path / "fam.csv").write_text(text, encoding=encoding)
    (tmp_path / "fam.schema.yaml").write_text(schema)
    return tablefiles.read(tmp_path, tmp_path)["fam"]


@pytest.mark.parametrize(
    "text, encoding",
    [
        ("name,gmacs,top1\nA,1,70\nA,2,75\n", "utf-8-sig"),
        ("name;gmacs;top1\nA;1;70\nA;2;75\n", "utf-8"),
        ("name\tgmacs\ttop1\tnote\nA\t1\t70\n\nA\t2\t75\n", "utf-8"),
        ("name , gmacs, top1\n A, 1, 70\nA , 2, 75\n", "utf-8"),
        ('gmacs, top1, name, note\n1, 70, "A", "b, c"\n2, 75, "A",\n', "utf-8"),
        ("name,gmacs,top1\nA,1,70\nA,,80\nA,2,75\nA,3,n/a\nB,NaN,80\nA,4\n", "utf-8"),
    ],
)
def test_a_table_is_read_as_others_write_it(tmp_path, capsys, text, encoding):
    [family] = fam(tmp_path, text, encoding=encoding)
    assert [(m.spent, m.correct) for m in family.members] == [(1e9, 35_000), (2e9, 37_500)]
    said = capsys.readouterr().err
    assert ("left out: 4 of 6 rows, the first in line 3" in said) == ("n/a" in text)


@pytest.mark.parametrize(
    "rows, change, reason",
    [
        ("A,many,70", (), r"fam\.csv: line 2: gmacs is 'many'; give a number"),
        ("A,0,70", (), r"fam\.csv: line 2: gmacs is 0; give what is above 0"),
        ("A,1,inf", (), r"line 2: top1 is 'inf'"),
        ("A,1,70\nA,1e305,80", (), r"line 3: gmacs is 1e305, which a unit of 1e\+09 makes more"),
        (",1,70", (), r"fam\.csv: line 2: name is empty; name the row's family"),
        ("A,1,76,5", (), r"line 2 has 4 cells, and the head names 3.*decimals with a point"),
        ("A,1,70", ("0.01", "1"), r"top1 is from 70 to 70.*unit to 0\.01 for percent"),
        ("A,1,0.70", (), r"top1 is from 0\.7 to 0\.7.*at most 0\.70%; set .* unit to 1 if"),
        ("A,,70", (), r"fam\.csv: has no row with FLOPs and accuracy"),
    ],
)
def test_a_cell_that_cannot_be_read_names_its_line(tmp_path, rows, change, reason):
    schema = FAMILIES.replace(*change) if change else FAMILIES
    with pytest.raises(ValueError, match=reason):
        fam(tmp_path, f"name,gmacs,top1\n{rows}\n", schema)


def test_a_column_that_a_table_has_twice_is_refused_if_it_is_asked_for(tmp_path):
    """The last one's numbers were taken."""
    with pytest.raises(ValueError, match=r"fam\.csv: has several columns called top1; rename"):
        fam(tmp_path, "name,top1,gmacs,top1,note,note\nA,10,1,70,a,b\n")
    [family] = fam(tmp_path, "name,top1,gmacs,note,note\nA,70,1,a,b\n")
    assert family.members[0].correct == 35_000


def test_a_table_may_be_called_csv_in_capitals(tmp_path):
    lay(tmp_path, "fam", invented_families("A"), FAMILIES)
    (tmp_path / "fam.csv").rename(tmp_path / "fam.CSV")
    assert len(tablefiles.read(tmp_path, tmp_path)["fam"]) == 2


def test_a_table_in_another_encoding_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"fam\.csv: is not UTF-8"):
        fam(tmp_path, "name,gmacs,top1\nÉ,1,70\n", encoding="latin-1")


def test_the_longest_beginning_of_a_name_tells_its_lineage(tmp_path):
    schema = FAMILIES.replace("{Grand: Great}", "{Res: Plain, ResNeXt: Grouped}")
    rows = "name,gmacs,top1\nResNet,1,70\nResNeXt,1,71\n-,1,72\n"
    assert [f.lineage for f in fam(tmp_path, rows, schema)] == ["Plain", "Grouped", "-"]


def test_a_beginning_of_no_familys_name_is_told(tmp_path, capsys):
    """Written with another letter it tells no lineage, and relatives teach each other's prior."""
    schema = FAMILIES.replace("{Grand: Great}", "{resnet: Plain, ResNeXt: Grouped}")
    rows = "name,gmacs,top1\nResNet,1,70\nResNeXt,1,71\n"
    assert [f.lineage for f in fam(tmp_path, rows, schema)] == ["ResNet", "Grouped"]
    assert "no family begins as lineages has it: resnet\n" in capsys.readouterr().err
    fam(tmp_path, rows, schema.replace("resnet", "ResNet"))
    assert "lineages" not in capsys.readouterr().err


def nets(tmp_path, rows, schema=NETWORKS):
    text = "\n".join(["layers,first,second,mmacs", *rows])
    (tmp_path / "nets.csv").write_text(text, encoding="utf-8")
    (tmp_path / "nets.schema.yaml").write_text(schema)
    return tablefiles.read(tmp_path, tmp_path)["nets"]


def test_a_network_that_lacks_trainings_is_worth_the_others(tmp_path):
    table = nets(tmp_path, ["00,70,72,1", "01,80,,1", "10,,,1", "11,nan,90,1"])
    assert table.scores.tolist() == pytest.approx([0.71, 0.8, 0.9])
    assert table.choices.tolist() == [[0, 0], [0, 1], [1, 1]]


def test_rows_of_one_networks_choices_are_its_trainings(tmp_path):
    """Under other choices equal accuracies are the same trainings, told again."""
    schema = NETWORKS.replace("[first, second, mmacs]", "[mmacs]")
    rows = ["00,70,72,1", "00,74,,1", "01,70,72,2", "10,90,90,3", "11,90,90,3", "12,80,80,3"]
    table = nets(tmp_path, rows, schema)
    assert table.network.tolist() == [0, 0, 1, 2, 2, 2]
    assert table.scores.tolist() == pytest.approx([0.72, 0.71, 0.85])


@pytest.mark.parametrize(
    "rows, reason",
    [
        (["00,70,72,1", "00,74,75,1"], "lines 2 and 3 have the same choices, and are two networks"),
        (["00,70,72,1", "1,74,75,1"], "line 3: layers tells 1 choices, line 2 2; write all digits"),
    ],
)
def test_networks_that_cannot_be_told_apart_are_refused(tmp_path, rows, reason):
    with pytest.raises(ValueError, match=reason):
        nets(tmp_path, rows)


WIDTHS = (
    NETWORKS.replace("[layers]", "[width, kind]")
    .replace("digits: true", "digits: false")
    .replace("same: [first, second, mmacs]", "same: [width, kind]")
)


def widths(tmp_path, rows):
    lines = ["width,kind,first,second,mmacs", *rows]
    (tmp_path / "nets.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (tmp_path / "nets.schema.yaml").write_text(WIDTHS, encoding="utf-8")
    return tablefiles.read(tmp_path, tmp_path)["nets"]


def test_a_choice_that_is_written_in_two_ways_is_one(tmp_path):
    """Of two networks for the same choices the first was lost without a word."""
    table = widths(tmp_path, ["2,a,70,72,1", "2.0,a,74,76,1", "1.50,a,60,62,1", "1.5,a,64,66,1"])
    assert table.scores.tolist() == pytest.approx([0.73, 0.63]) and len(table.known) == 2
    with pytest.raises(ValueError, match="lines 2 and 3 have the same choices"):
        widths(tmp_path, ["2,a,70,72,1", "02,a,74,76,1"])


def test_a_choice_that_is_missing_is_refused(tmp_path):
    """It was a choice of its own."""
    with pytest.raises(ValueError, match=r"nets\.csv: line 3: kind is empty; write the network's"):
        widths(tmp_path, ["2,a,70,72,1", "2,,74,76,1"])
    assert len(widths(tmp_path, ["2,a,70,72,1", "2,none,74,76,1"]).scores) == 2


def test_rows_of_one_network_that_differ_in_flops_are_refused(tmp_path):
    """The last one's FLOPs were taken; rounding may differ."""
    schema = NETWORKS.replace("[first, second, mmacs]", "[first, second]")
    with pytest.raises(ValueError, match=r"lines 2 and 3 are one network.* 1e.06 and 3e.06 FLOPs"):
        nets(tmp_path, ["00,70,72,1", "01,70,72,3"], schema)
    assert nets(tmp_path, ["00,70,72,1", "01,70,72,1.004"], schema).flops.tolist() == [1e6]


@pytest.mark.parametrize(
    "schema", [FAMILIES.replace("top1", "gmacs"), FAMILIES.replace("[name]", "[name, top1]")]
)
def test_a_column_that_a_schema_names_twice_is_refused(tmp_path, schema):
    """FLOPs were taken for accuracies, and each accuracy for a family."""
    with pytest.raises(ValueError, match=r"fam\.csv: its schema names (gmacs|top1) twice"):
        fam(tmp_path, "name,gmacs,top1\nA,1,70\n", schema)


def test_a_training_that_a_schema_names_twice_is_refused(tmp_path):
    """It was two trainings without noise."""
    with pytest.raises(ValueError, match="names first twice"):
        nets(
            tmp_path,
            ["00,70,72,1"],
            NETWORKS.replace("accuracy: [first, second]", "accuracy: [first, first]"),
        )


def test_the_shipped_schemas_are_valid():
    shipped = sorted(tablefiles.SCHEMAS.glob("*.schema.yaml"))
    assert shipped
    for file in shipped:
        table = file.with_name(file.name.replace(".schema.yaml", ".csv"))
        assert tablefiles.schema_of(table, tablefiles.SCHEMAS).columns


def families_of(tmp_path, lineages, **known):
    lay(tmp_path, "fam", invented_families(lineages, **known), FAMILIES)
    return tablefiles.read(tmp_path, tmp_path)["fam"]


GIVEN = priors.VAGUE.model_copy(update={"unusual": 0.02, "short": 0.3})


def test_a_prior_is_learnt_from_families(tmp_path):
    families = families_of(tmp_path, "ABCDEFGHIJ", exponent=0.8, floor=0.5, members=7)
    prior = priors.learn(families, GIVEN)
    assert prior.exponent[0] == pytest.approx(0.8, rel=0.15) and prior.exponent[1] < 0.35
    assert prior.floor[0] == pytest.approx(0.5, abs=0.05)
    assert (prior.unusual, prior.short) == (0.02, 0.3)
    assert 0.0003 < prior.scatter[0] < 0.002
    with pytest.raises(ValueError, match="at least 3 lineages, given"):
        priors.learn(families[:4], GIVEN)


def test_the_law_is_held_against_the_families_that_were_trained():
    """S0 to S4 of two arms and two seeds; the smaller arm's last size was trained once."""
    rows = {f"S{i}": {"flops": [1e6 * 2**i] * 2, "accuracies": [0.5 + 0.04 * i, 0.51 + 0.04 * i]}
            for i in range(5)}  # fmt: skip
    fewer = rows | {"S4": {"flops": [16e6], "accuracies": [0.66]}}
    text = ownlaw.section({"arms": {"ours": rows, "EfficientNet's law": fewer}})
    assert "| 3 | next | 3 |" in text and "| 3 | next but one | 3 |" in text
    assert "| 4 | next | 3 |" in text and "| 5 |" not in text
    few = {name: rows[name] for name in ("S0", "S1", "S2")}
    assert ownlaw.section({"arms": {"ours": few, "EfficientNet's law": few}}) == ""


def test_the_reports_say_of_which_interval_a_coverage_is(tmp_path, monkeypatch, params):
    """It was called 95 % whatever publish.confidence said."""
    publish = params.publish.model_copy(update={"confidence": 0.8})
    families = families_of(tmp_path, "ABCDE", members=5)
    text = tablereport.laws("fam", tablelaws.compare(families, families, publish))
    assert "inside its 80 % interval, %" in text and "95 %" not in text
    monkeypatch.setattr(
        ownlaw.params, "load", lambda _: params.model_copy(update={"publish": publish})
    )
    rows = {f"S{i}": {"flops": [1e6 * 2**i] * 2, "accuracies": [0.5 + 0.04 * i] * 2}
            for i in range(4)}  # fmt: skip
    text = ownlaw.section({"arms": {"ours": rows, "EfficientNet's law": rows}})
    assert "inside its 80 % interval, %" in text and "[0, 49]" in text, "brackets are of 95 %"


def test_no_family_teaches_the_prior_that_it_is_judged_with(tmp_path):
    """One lineage is unlike all others: leaving it out changes the prior, and only its own."""
    usual = families_of(tmp_path, "ABCDE", members=7)
    (tmp_path / "x").mkdir()
    odd = families_of(tmp_path / "x", "X", floor=0.2, exponent=1.2, members=7)
    learnt = tablelaws.left_out([*usual, *odd], [*usual, *odd], GIVEN)
    assert learnt["X"] == priors.learn(usual, GIVEN)
    assert all(learnt[name].floor[0] < learnt["X"].floor[0] for name in "ABCDE")


def test_a_family_that_tables_hold_twice_does_not_teach_its_own_prior(tmp_path, params):
    """The other table says that it is of another lineage."""
    usual = families_of(tmp_path, "ABCDE", members=5)
    again = [replace(family, lineage="Z") for family in usual if family.lineage == "A"]
    learnt = tablelaws.left_out(again, usual, GIVEN)
    assert learnt == {"Z": priors.learn([f for f in usual if f.lineage != "A"], GIVEN)}
    assert set(tablelaws.compare(again, usual, params.publish)["priors"]) == {*"ABCDE", "Z"}


def test_families_of_two_teach_no_prior_and_are_no_lineage_to_leave_out(tmp_path, params):
    families = families_of(tmp_path, "ABCD", members=5)
    cut = [replace(f, members=f.members[:2]) if f.lineage in "CD" else f for f in families]
    assert tables.prior({"fam": cut}, params) is None
    compared = tablelaws.compare(cut, cut, params.publish)
    assert compared["priors"] == {} and len(compared["summary"]) == 3
    cut = [f if f.lineage != "D" else replace(f, members=f.members[:2]) for f in families]
    assert tablelaws.compare(cut, cut, params.publish)["priors"] == {}
    assert tables.prior({"fam": cut}, params)


def test_a_row_that_is_told_twice_is_one_member(tmp_path, capsys):
    """Three rows of one member were the first three members, and taught a law of no scatter."""
    rows = [f"A,{2**i},{60 + 3 * i}" for i in range(4)]
    once = fam(tmp_path, "\n".join(["name,gmacs,top1", *rows]))
    assert "told twice" not in capsys.readouterr().err
    assert fam(tmp_path, "\n".join(["name,gmacs,top1", *rows * 3])) == once
    assert "fam.csv: told twice, so counted once: 8 of 12 rows" in capsys.readouterr().err


@pytest.mark.parametrize("tested", [1, 10, 1000])
def test_an_accuracy_is_not_rounded_to_whole_images(tmp_path, tested):
    """Of one image each family had all right; a mean of trainings need not be of whole images."""
    schema = FAMILIES.replace("tested: 50000", f"tested: {tested}")
    assert f"tested: {tested}" in schema
    [family] = fam(tmp_path, "name,gmacs,top1\nA,1,61.237\n", schema)
    assert family.members[0].correct / tested == pytest.approx(0.61237, rel=1e-5)


def test_what_was_read_of_a_table_is_said(tmp_path):
    """FLOPs of another unit, and accuracies of another column, gave figures like any others."""
    lay(tmp_path, "fam", invented_families(["Great", "Grand"], members=4), FAMILIES)
    lay(tmp_path, "nets", invented_networks(2), NETWORKS)
    said = [tablesaid.about(*one) for one in tablefiles.read(tmp_path, tmp_path).items()]
    assert re.fullmatch(
        r"fam: 16 members of 4 families of 1 lineage \(Great\); 100 M to 800 M FLOPs, "
        r"accuracy \d\d\.\d % to \d\d\.\d %",
        said[0],
    )
    assert said[1].startswith("nets: 9 networks of 2 positions, 18 trainings; 5 M to 9 M FLOPs, ")


@pytest.mark.parametrize("unit", ["0.01", "1"])
def test_accuracies_that_fall_with_flops_are_doubted(tmp_path, unit):
    """Shares of errors were taken for accuracies: all was off by ten points, without a word."""
    rows = [(name, 2**i, 40 - 3 * i) for name in "ABC" for i in range(4)]
    schema = FAMILIES.replace("0.01", unit)
    lines = [f"{name},{flops},{error * 0.01 / float(unit)}" for name, flops, error in rows]
    errors = fam(tmp_path, "\n".join(["name,gmacs,top1", *lines]), schema)
    said = tablesaid.doubt("fam", errors)
    assert "in 3 of 3 families the largest member is worse" in said and "write 100 less" in said
    networks = nets(tmp_path, [f"{i},{50 - i},{50 - i},{i + 1}" for i in range(5)])
    assert "the more FLOPs, the less accurate (ρ -1.00)" in tablesaid.doubt("nets", networks)
    lay(tmp_path, "fam", invented_families("ABC"), FAMILIES)
    lay(tmp_path, "nets", invented_networks(2), NETWORKS)
    assert {tablesaid.doubt(*one) for one in tablefiles.read(tmp_path, tmp_path).items()} == {None}


def test_members_of_equal_flops_are_one_size(tmp_path):
    """A further training of the last member was the next member."""
    rows = [f"A,{2**i},{60 + 3 * i + more}" for i in range(4) for more in (0, 1)]
    families = fam(tmp_path, "\n".join(["name,gmacs,top1", *rows]))
    asked = []

    def law(_, members, flops):
        asked.append(([m.spent for m in members], flops))
        return Prediction(0.7, 0.6, 0.8, 0.95)

    [trial] = tablelaws.trials(families, law)
    assert asked == [([1e9, 1e9, 2e9, 2e9, 4e9, 4e9], 8e9)]
    assert (trial.fitted, trial.ahead, trial.reached) == (3, 1, pytest.approx(0.695))


def test_a_learnt_prior_predicts_better_than_least_squares(tmp_path, params):
    families = families_of(tmp_path, "ABCDEFGH", members=5, noise=0.25)
    found = tablelaws.compare(families, families, params.publish)["summary"]
    without, with_prior = (
        found[name][0] for name in ("least squares, no prior", "prior, lineage left out")
    )
    assert (with_prior["fitted"], with_prior["ahead"], with_prior["families"]) == (3, 1, 16)
    assert with_prior["mean_error"] < without["mean_error"]
    assert with_prior["inside"] >= 14 and 0 < with_prior["low"] < with_prior["high"] <= 1
    assert 0 < with_prior["mean_width"] < 0.06


def test_a_family_whose_accuracy_falls_is_predicted_too():
    """Published tables hold some."""
    members = [Point(flops, correct, 1000) for flops, correct in ((1, 800), (2, 790), (4, 785))]
    predicted = tablelaws.least_squares(None, members, 8)
    assert predicted.value == pytest.approx(0.792, abs=0.01)


def test_searches_find_the_best_of_a_table_within_its_budget(tmp_path, params):
    tablesearch = pytest.importorskip("bench.method.tablesearch", reason="needs the bench extra")
    tablespace = pytest.importorskip("bench.method.tablespace", reason="needs the bench extra")
    lay(tmp_path, "nets", invented_networks(), NETWORKS)
    table = tablespace.within(tablefiles.read(tmp_path, tmp_path)["nets"], 0.5)
    assert table.flops.max() == 9e6 and len(table.scores) < 81
    mapped = tablespace.Mapped.of(table, params, 80)
    for name, search in tablesearch.SEARCHES.items():
        lookups = tablespace.Lookups(table, len(table.scores), table.scores.max())
        best = tablesearch.traced(search, lookups, mapped, 0)
        assert best == sorted(best) and len(best) == len(lookups.candidates)
        assert best[-1] == pytest.approx(table.scores.max()), name
    found = tablesearch.compare(table, params, 2, 30)
    assert found["reached"][tablesearch.EVOLUTION] == [
        n for n in found["reached"][tablesearch.EVOLUTION] if 0 < n <= 30
    ]
    assert found["ceiling"]["tau"] > 0.8 and found == tablesearch.compare(table, params, 2, 30)


def test_tables_are_tried_by_one_command_and_reported(tmp_path, monkeypatch, capsys):
    pytest.importorskip("pymoo", reason="needs the bench extra")
    folder = tmp_path / "given"
    folder.mkdir()
    lay(folder, "fam", invented_families("ABCD", members=4), FAMILIES)
    lay(folder, "nets", invented_networks(3), NETWORKS)
    options = ["--tables", str(folder), "--seeds", "2", "--evaluations", "6"]
    monkeypatch.setattr("sys.argv", ["tables", *options, "--results", str(tmp_path / "results")])
    tables.main()
    assert "first 3, 1 ahead" in capsys.readouterr().out
    text = report.report(tmp_path / "results", tmp_path)
    assert "`python -m bench.method.tables --tables given --seeds 2 --evaluations 6`" in text
    assert (
        "### The accuracy law on `fam`" in text
        and "| prior, lineage left out | 3 | next | 8" in text
    )
    assert "### The searches on `nets`" in text and "| plain evolution |" in text
    assert str(tmp_path) not in (tmp_path / "results/tables.json").read_text()


def test_of_a_large_table_some_networks_are_judged_at_a_time(tmp_path, params, monkeypatch):
    tablesearch = pytest.importorskip("bench.method.tablesearch", reason="needs the bench extra")
    monkeypatch.setattr(tablesearch, "MOST_JUDGED", 20)
    asked: list[int] = []

    def guess():
        return lambda rows, scores, others: asked.append(len(others)) or -others[:, 0]

    only = {tablesearch.EVOLUTION: tablesearch.plain_evolution, "whole": tablesearch.guided(guess)}
    monkeypatch.setattr(tablesearch, "SEARCHES", only)
    lay(tmp_path, "nets", invented_networks(), NETWORKS)
    table = tablefiles.read(tmp_path, tmp_path)["nets"]
    found = tablesearch.compare(table, params, 1, 70)
    assert max(asked) == 20 and found["judged"] == 20 and found["networks"] == 81
    text = tablereport.searches("nets", {"1.0": found})
    assert "`whole table` chooses each network among 20 that are drawn of it." in text
    assert "drawn of it" not in tablereport.searches("nets", {"1.0": found | {"judged": 81}})


def test_what_cannot_be_tried_does_not_stop_the_rest(tmp_path, monkeypatch, capsys):
    """Without pymoo no table is searched; of two families none is told the law."""
    monkeypatch.setitem(sys.modules, "bench.method.tablesearch", None)
    monkeypatch.delattr(method, "tablesearch", raising=False)
    (folder := tmp_path / "given").mkdir()
    lay(folder, "fam", invented_families("ABCD", members=2), FAMILIES)
    lay(folder, "nets", invented_networks(2), NETWORKS)
    monkeypatch.setattr(
        "sys.argv", ["tables", "--tables", str(folder), "--results", str(tmp_path / "results")]
    )
    tables.main()
    said = capsys.readouterr().out
    assert "fam: vague prior: no family has a member beyond three" in said
    assert "learnt from all: nothing: a prior takes 3 lineages" in said and "0 (none)" in said
    assert "nets: not searched: " in said and "pip install -e '.[bench]'" in said
    text = report.report(tmp_path / "results", tmp_path)
    assert "### The accuracy law on `fam`\n\nNot tried: no family" in text
    assert "### The searches on `nets`\n\nNot tried: " in text


def test_a_table_that_cannot_be_searched_is_named(tmp_path, params):
    pytest.importorskip("pymoo", reason="needs the bench extra")
    wide = Networks(np.arange(9)[:, None], np.arange(9), np.ones((9, 1)), np.ones(9))
    found, refused = tables.searches({"wide": wide}, params, 1, 1)
    assert found == {} and "a position has 9 choices" in refused["wide"]


@pytest.mark.parametrize("option", ["--seeds", "--evaluations"])
def test_no_runs_are_refused_before_any(tmp_path, monkeypatch, capsys, option):
    monkeypatch.setattr("sys.argv", ["tables", "--tables", str(tmp_path), option, "0"])
    with pytest.raises(SystemExit):
        tables.main()
    assert "should be a whole number from 1, given '0'" in capsys.readouterr().err


def test_a_folder_without_tables_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["tables", "--tables", str(tmp_path)])
    with pytest.raises(SystemExit, match="holds no CSV file; --tables should name a folder"):
        tables.main()


def test_what_the_benchmarks_trained_is_gathered_once():
    folder = ROOT / "bench/method/results/cifar10-cpu"
    rank, family, extrapolation = (
        json.loads((folder / f"{name}.json").read_text())
        for name in ("rank", "family", "extrapolation")
    )
    rows = surface.known([rank], family, extrapolation["hidden"]["predicted"])
    assert len({row.network for row in rows}) == len(rows) > 100
    ours = {row["network"]: row["name"] for row in family["members"]}
    trained = {ours[str(r.network)]: r.trained for r in rows if str(r.network) in ours}
    assert trained == {s: row["accuracies"] for s, row in family["arms"]["ours"].items()}
    assert all(row.trained for row in rows)
    assert sum(len(row.scores) == 2 for row in rows) == len(rank["networks"])


def test_a_grid_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"grids\.csv is not there; --tables should name a folder"):
        regressions.grid(file := tmp_path / "grids.csv")
    file.write_text("depth,width,gmacs,top1\n1,1,1,70\n")
    with pytest.raises(ValueError, match=r"grids\.csv: has no column resolution; its columns are"):
        regressions.grid(file)
    rows = [
        f"1;{width};{px};{width * width * px * px};{70 + width + px / 100}"
        for width in (1, 2, 3, 4)
        for px in (64, 96, 128, 192)
    ]
    file.write_text("\n".join(["depth;width;resolution;gmacs;top1", "1;1;1;;70", *rows]))
    errors = regressions.grid(file)
    assert errors[regressions.SURFACE] < 0.02


def test_a_surface_bends_where_lines_do_not(tmp_path):
    rows = ["depth,width,resolution,gmacs,top1"]
    for width in (0.25, 0.5, 1.0, 2.0):
        for px in (64, 96, 128, 192):
            top1 = 50 + 8 * np.log2(width * px / 64) - np.log2(width * 4) ** 2
            rows.append(f"1,{width},{px},{(width * px) ** 2},{top1}")
    (tmp_path / "grids.csv").write_text("\n".join(rows))
    errors = regressions.grid(tmp_path / "grids.csv")
    assert errors[regressions.SURFACE] < 0.02 < errors["line in FLOPs"]
    assert errors[regressions.SURFACE] < errors["Bayesian ridge, no bends"]


def test_every_training_of_a_ranked_network_is_known():
    name = "r8-stem_k3_s1_c8-ir_k3_s1_e1_c8-head_c8-se0.25e-relu"
    other = name.replace("r8", "r9")
    row = {"stage": 1, "network": name, "trained": 0.5, "accuracies": [0.4, 0.6]}
    scores = {way: [{"accuracy": 0.3}] for way in ("default", "fine-tuned")}
    hidden = {"network": name, "accuracies": [0.7]}
    ranks = [{"networks": [of], "scores": scores} for of in (row, row | {"network": other})]
    one, two = surface.known(ranks, {"members": [], "arms": {}}, hidden)
    assert one.trained == [0.4, 0.6, 0.7] and two.trained == [0.4, 0.6]


def test_a_choice_by_the_truth_has_no_regret():
    truth = np.random.default_rng(0).random(20)
    picks = np.random.default_rng(1).random((50, 20)).argsort(1)[:, :5]
    assert surface._regret(truth, truth, picks) == 0 < surface._regret(-truth, truth, picks)


def test_a_scoreboard_scores_a_network_once_and_few_images_more_noisily(params):
    board = lean.Scoreboard.of(ROOT / "bench/method/results/cifar10-cpu")
    rank = json.loads((ROOT / "bench/method/results/cifar10-cpu/rank.json").read_text())
    networks = [Network.parse(row["network"]) for row in rank["networks"]]

    def scores(images, seed=0):
        search = params.search.model_copy(update={"images": images})
        return np.array([m.accuracy for m in board.measures(search, seed).shared(networks)])

    assert (scores(300) == scores(300)).all() and (scores(300) != scores(300, 1)).any()
    truth = board.shared["accuracy"].predict(networks)
    noise = [float(np.std(scores(images) - truth)) for images in (0, 30)]
    assert noise[1] / noise[0] == pytest.approx(10, rel=0.02)
    assert noise[0] == pytest.approx(board.shared["accuracy"].noise["trained"], rel=0.3)


def test_a_scoreboards_finalists_are_those_of_a_search(make_params):
    """Tuned, or on all of select where others see a part of it, or none."""
    board = lean.Scoreboard.of(ROOT / "bench/method/results/cifar10-cpu")
    tuned, every, none = (
        make_params({"search": {"images": images, "finetune": {"steps": steps}}}).search
        for images, steps in ((100, lean.RANKED), (100, 0), (0, 0))
    )
    network = [Network.parse("r8-stem_k3_s1_c8-ir_k3_s1_e1_c8-head_c8-se0.25e-relu")]
    assert board.measures(none, 0).finals is None
    [by_shared] = board.measures(every, 0).finals(network)
    [by_tuned] = board.measures(tuned, 0).finals(network)
    assert by_shared.accuracy != by_tuned.accuracy


def test_a_choice_is_among_a_bases_strategies_of_a_size(lab):
    found = lab.budget.draw_of(np.random.default_rng(5), 0)[0]
    among = tuning.choices(lab, found, 3)
    assert 2 <= len(among) <= 3 * (len(lab.params.scaling.stages) - 1)
    for own in among:
        [size] = {size for size, _ in own}
        networks = [network for _, network in own]
        assert len(set(networks)) == len(networks) > 1 and size > 0
    of_found = [scale(lab.params.space, found, by) for by in lab.budget.feasible(found, 1)]
    assert {network for _, network in among[0]} == set(of_found)


def test_what_a_choice_loses_is_the_bests_worth_less_its_own():
    small, middle, large = (
        Network.parse(f"r{side}-stem_k3_s1_c8-ir_k3_s1_e1_c8-head_c8-se0.25e-relu")
        for side in (8, 10, 12)
    )
    worth = {small: 0.5, middle: 0.7, large: 0.6}

    def scored(*values):
        return [
            {"network": str(network), "accuracy": value, "probability": 1 - value}
            for network, value in zip(worth, values, strict=True)
        ]

    among = [[(1, small), (1, middle), (1, large)], [(2, small), (2, large)]]
    found = tuning.losses(worth, among, [scored(0.1, 0.3, 0.2), scored(0.3, 0.1, 0.2)])
    assert found["accuracy"] == pytest.approx([0, 0, 0.2, 0.1])
    assert found["probability"] == pytest.approx([0.2, 0.1, 0, 0])


def test_a_lean_search_is_priced_by_what_each_candidate_sees(make_params):
    over = {"search": {"images": 100, "calibration": 50, "finetune": {"steps": 7}}}
    params = make_params(over)
    counts = {"train": 1000, "select": 400}
    batch = params.supernet.recipe.batch
    assert bench_cost.candidates_macs(params, counts, [(10, "bases")]) == 10 * 150
    tuned = bench_cost.candidates_macs(params, counts, [(10, "finetuned")])
    assert tuned == 10 * (450 + 3 * 7 * batch)
    assert bench_cost.candidates_macs(params, counts, [(10, "rescored")]) == 10 * 450
    every = make_params({"search": {"calibration": 50}})
    assert bench_cost.candidates_macs(every, counts, [(10, "start")]) == 10 * 450
    more = make_params({"search": {"images": 500, "calibration": 50}})
    assert bench_cost.candidates_macs(more, counts, [(10, "start")]) == 10 * 450
    both = make_params(over | {"supernet": {"coupling": "bilateral"}})
    assert bench_cost.candidates_macs(both, counts, [(10, "rescored")]) == 2 * 10 * 450
    assert bench_cost.candidates_macs(both, counts, [(10, "finetuned")]) == tuned


def test_the_preset_is_the_lean_search_that_was_priced(monkeypatch):
    monkeypatch.chdir(ROOT)
    preset = scripts.params_of("cifar10-cpu")
    assert lean.changed(preset, lean.ARMS["few images, ridge"]) == preset
    before = lean.changed(preset, lean.AS_MEASURED)
    assert lean.training_macs(before) > 1.3 * lean.training_macs(preset)


def test_every_strategy_of_a_hidden_size_is_held_against_the_searched_one():
    rows = {
        what: {"scaling": by, "accuracies": reached}
        for what, by, reached in (
            ("searched", "d1-w1.5-r22", [0.60, 0.62]),
            ("predicted", "d1.3-w1.7-r17", [0.58, 0.60]),
            ("also", "d1-w1.9-r23", [0.63, 0.65]),
        )
    }
    hidden = rows | {"also": [rows["also"]], "intervals": {}}
    result = {"hidden": hidden, "noise": {"noise": 0.008, "dof": 40}}
    assert report.less(rows["searched"], result) == "–"
    assert report.less(rows["predicted"], result).startswith("-2.0 [")
    assert report.less(hidden["also"][0], result).startswith("+3.0 [")
    assert "no network was trained twice" in report.less(rows["also"], result | {"noise": None})
