"""The response surface: recovered from scores, asked for strategies, honest about what it risks."""

import math
import re

import numpy as np
import pytest

from scalenet.laws import plan
from scalenet.laws import surface as surfaces
from scalenet.laws.advice import advise
from scalenet.laws.affordable import APART, _depths, affordable
from scalenet.laws.surface import SHARED, TRAINED, TUNED, Evaluation, describe
from scalenet.records import files
from scalenet.records.documents import FINETUNED, Candidate, Found
from scalenet.space import cost
from scalenet.space.budget import Budget
from scalenet.space.network import Network
from scalenet.space.scale import scale
from scalenet.space.scaling import Scaling

SIDE = 12  # px of the images: the last size offers more
CENTRE = np.array([2.5, 3.0, 3.3, 0.0, 4.0, 1.0])
SLOPES = np.array([0.02, 0.06, 0.05, 0.0, 0.004, 0.01])
BENDS = np.array([0.004, 0.012, 0.006, 0.0])


def truth(network):
    """Return a known concave accuracy."""
    x = describe(network, SIDE) - CENTRE
    return 0.7 + x @ SLOPES - x[:4] ** 2 @ BENDS


def off(network):
    """Return what scores by shared weights are off: they compress what width is worth."""
    x = describe(network, SIDE) - CENTRE
    return -0.1 - 0.04 * x[1] + 0.01 * x[2]


def networks_of(params, info, sizes, count, seed=0):
    """Draw networks that a search may choose, of some sizes."""
    budget, generator = Budget(params.space, params.scaling, info.task), np.random.default_rng(seed)
    found = {}
    while len(found) < count:
        base = budget.draw(generator)
        for size in sizes:
            options = budget.feasible(base, size)
            if options:
                by = options[int(generator.integers(len(options)))]
                found[scale(params.space, base, by)] = base, by, size
    return dict(list(found.items())[:count])


def fitted(networks, noise=0.002, way=TRAINED, of=truth, draws=200, size=SIDE):
    generator = np.random.default_rng(1)
    told = [Evaluation(n, of(n) + noise * generator.standard_normal(), way) for n in networks]
    return surfaces.fit(told, size, draws, np.random.default_rng(0))


@pytest.fixture(scope="module")
def drawn(params, info):
    return list(networks_of(params, info, (0, 1, 2), 120))


# --- the fit --------------------------------------------------------------------------------------


def test_a_known_concave_surface_is_recovered(drawn):
    held = [network for network in drawn if network.resolution <= SIDE]
    surface = fitted(held)
    expected = np.array([truth(network) for network in held])
    assert surface.predict(held) == pytest.approx(expected, abs=0.002)
    assert surface.noise[TRAINED] == pytest.approx(0.002, rel=0.3)
    slopes = surface.plain()["slopes"]
    assert slopes["kernel"] == pytest.approx(0.004, abs=0.001)
    assert min(surface.plain()["bends"].values()) >= 0
    assert surface.draws[:, -4:].min() >= 0, "every draw bends downwards"


def test_what_was_not_measured_lies_in_the_intervals(drawn, params, info):
    surface = fitted(drawn[:40])
    others = list(networks_of(params, info, (0, 1, 2), 120, seed=9))
    low, high = np.quantile(surface.drawn(others), [0.025, 0.975], axis=0)
    expected = np.array([truth(network) for network in others])
    assert np.mean((low <= expected) & (expected <= high)) >= 0.85
    assert np.mean(high - low) < 0.01


def test_more_measurements_narrow_the_intervals(drawn):
    few, many = (fitted(drawn[:count]).drawn(drawn).std(0).mean() for count in (12, 120))
    assert many < few / 2


def test_scores_are_calibrated_on_trained_networks(drawn):
    """Shared weights alone misjudge widths; a few trainings of other networks put that right."""

    def told(trained):
        shared = [Evaluation(n, truth(n) + off(n), SHARED) for n in drawn[20:]]
        known = [Evaluation(n, truth(n), TRAINED) for n in drawn[:trained]]
        return surfaces.fit(shared + known, SIDE, 100, np.random.default_rng(0))

    assert told(0).plain()["slopes"]["width"] < 0.04
    assert told(20).plain()["slopes"]["width"] == pytest.approx(SLOPES[1], abs=0.01)
    expected = np.array([truth(network) for network in drawn])
    assert told(20).predict(drawn) == pytest.approx(expected, abs=0.01)


def test_what_shared_weights_say_is_believed_less_than_trainings(drawn):
    trained, shared = (fitted(drawn, way=way).drawn(drawn) for way in (TRAINED, SHARED))
    spread = [np.std(own - own.mean(1, keepdims=True), axis=0).mean() for own in (trained, shared)]
    assert spread[1] > 3 * spread[0]


def test_few_networks_are_refused(drawn):
    with pytest.raises(ValueError, match=r"at least 6 measured networks, given 5.*law to dim"):
        fitted(drawn[:5])
    with pytest.raises(ValueError, match=r"at least 6 measured networks, given 5"):
        fitted(drawn[:5] * 2)  # twice each, such as finalists


def test_networks_that_differ_by_kernels_alone_tell_no_surface(imaged, make_params, base):
    """What a doubling of the FLOPs pays would be the scores' noise, divided by nothing."""
    text = "r8-stem_k3_s1_c4-ir_k{}_s1_e1_c4-head_c16-se0.25e-relu"
    alike = [Network.parse(text.format(kernel)) for kernel in range(1, 15, 2)]
    with pytest.raises(ValueError, match=r"FLOPs differ by 0\.1 doublings .*, given 0"):
        fitted(alike)
    params = beyond(make_params, law="dimensions")
    found, candidates = searched(params, imaged, base)
    same = [
        candidate.model_copy(update={"network": alike[i % len(alike)]})
        for i, candidate in enumerate(candidates)
    ]
    assert planned(params, imaged, (found, same))[1]["surface"] is None


def test_equal_scores_are_borne(drawn):
    surface = fitted(drawn[:10], noise=0.0, of=lambda network: 0.5)
    assert surface.predict(drawn) == pytest.approx(np.full(len(drawn), 0.5), abs=1e-3)


# --- what a budget affords ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def base(params, info):
    return next(iter(networks_of(params, info, (2,), 1).values()))[0]


@pytest.mark.parametrize("multiple", [0.5, 3.0, 8.0, 32.0])
def test_strategies_meet_their_budget_within_bounds(make_params, info, base, multiple):
    params = make_params({"extrapolate": {"tolerance": 0.15}})
    offered = affordable(params, info.task, base, multiple, SIDE)
    target = multiple * params.scaling.budget
    for by in offered:
        flops = cost.flops(scale(params.space, base, by), info.task)
        assert abs(flops / target - 1) <= params.extrapolate.tolerance
    more = max(1.0, multiple / 4)
    assert min(by.depth for by in offered) >= min(1, multiple)
    assert max(by.depth for by in offered) <= 2.0 * more
    assert max(by.width for by in offered) <= 2.0 * more**0.5
    assert max(by.resolution for by in offered) <= 13 * more**0.5
    assert len({by.depth for by in offered}) > 1 or multiple < 2
    assert multiple < 4 or SIDE in {by.resolution for by in offered}


def test_depths_are_the_steps_of_blocks_that_lie_apart(base):
    """They are stepped to, not listed first: there are thousands for a large multiple."""
    counts = {len(block.kernels) for block in base.blocks}
    for least, most in ((0.01, 2.0), (0.5, 0.5), (1.0, 128.0)):
        steps = {n / count for count in counts for n in range(1, int(most * count) + 1)}
        rounded = {least} | {math.floor(1000 * step) / 1000 for step in steps}
        kept = [least]
        for step in sorted(rounded):
            if step >= kept[-1] * APART:
                kept.append(step)
        assert _depths(base, least, most) == kept


def test_a_member_a_thousand_times_the_base_takes_few_layers_to_plan(
    params, info, base, monkeypatch
):
    """Its networks have up to thousands of layers, most of them alike: ten million in all."""
    looked_at = []

    def counted(layer):
        looked_at.append(layer)
        return cost.in_flops(layer)

    monkeypatch.setattr("scalenet.space.measure.in_flops", counted)
    offered = affordable(params, info.task, base, 1024.0, SIDE)
    assert max(by.depth for by in offered) > 100
    assert 0 < len(looked_at) < 1e6


def test_steps_of_resolution_are_kept_and_a_budget_out_of_reach_is_said(make_params, info, base):
    params = make_params({"extrapolate": {"resolution_step": 8, "tolerance": 0.2}})
    found = {by.resolution for by in affordable(params, info.task, base, 16.0, SIDE)}
    assert found <= {8, 16, 24, SIDE}
    strict = make_params({"extrapolate": {"tolerance": 1e-6}})
    with pytest.raises(ValueError, match=r"extrapolate.tolerance: .* the nearest, d.*misses by"):
        affordable(strict, info.task, base, 8.0, SIDE)


def test_what_is_said_of_a_budget_out_of_reach_helps(make_params, info, base):
    """It named what was at its least already, and no tolerance that would do."""
    strict = {"extrapolate": {"tolerance": 1e-6}}
    with pytest.raises(ValueError, match=r"within 0\.0001% of 8 x .*or lower space\.div") as said:
        affordable(make_params(strict), info.task, base, 8.0, SIDE)
    assert "resolution_step" not in str(said.value)
    enough = float(re.search(r"set it to (0\.\d+)", str(said.value))[1])
    params = make_params({"extrapolate": {"tolerance": enough}})
    assert affordable(params, info.task, base, 8.0, SIDE)


@pytest.mark.parametrize("budget", [8e4, 1e5, 2e5])
def test_the_nearest_strategy_is_one_that_a_higher_tolerance_allows(
    make_params, info, base, budget
):
    """Others are nearer, wider than anything that the searched sizes lead to."""

    def asked(tolerance):
        params = {"extrapolate": {"tolerance": tolerance}, "scaling": {"budget": budget}}
        return affordable(make_params(params), info.task, base, 8.0, SIDE)

    with pytest.raises(ValueError, match=r"extrapolate\.tolerance") as refused:
        asked(1e-7)
    named, miss = re.search(r"nearest, (\S+), misses by (\S+)%", str(refused.value)).groups()
    assert named in map(str, asked(float(miss) / 100 + 1e-3))


@pytest.mark.parametrize(
    "given",
    [
        {"extrapolate": {"resolution_step": 512}},  # no resolution
        {"scaling": {"budget": 25e6}},  # every width is too large
    ],
)
def test_that_nothing_lies_within_the_bounds_is_said(make_params, info, base, given):
    params = make_params(given)
    reason = r"extrapolate\.law: no strategy that spends 8 x .* FLOPs lies between d.* and d"
    with pytest.raises(ValueError, match=reason):
        affordable(params, info.task, base, 8.0, 500)


# --- advice ---------------------------------------------------------------------------------------


def test_the_best_strategy_is_the_surfaces(params, info, base, drawn):
    surface = fitted([network for network in drawn if network.resolution <= SIDE])
    options = affordable(params, info.task, base, 8.0, SIDE)
    advice = advise(params, surface, base, options)
    accuracy = {by: truth(scale(params.space, base, by)) for by in options}
    held = {by: a for by, a in accuracy.items() if by.resolution <= SIDE}
    assert accuracy[advice.best] >= max(held.values()) - 0.003
    worst = min(accuracy, key=accuracy.get)
    assert advice.regret(advice.best) < 0.01 < advice.regret(worst)
    for name, interval in advice.intervals.items():
        assert interval.low <= getattr(advice.best, name) == interval.value <= interval.high


@pytest.mark.parametrize(("pays", "asked"), [(None, False), (0.2, True), (-0.1, False)])
def test_pixels_that_the_images_lack_are_asked_for_only_if_they_were_seen_to_pay(
    params, info, base, drawn, pays, asked
):
    """Images of 9 px: 11 and more are offered, and measured unless ``pays`` is None."""
    side = 9
    told = [n for n in drawn if pays is not None or n.resolution <= side]
    surface = fitted(told, of=lambda n: truth(n) + (pays or 0.0) * describe(n, side)[3], size=side)
    options = affordable(params, info.task, base, 16.0, side)
    assert max(by.resolution for by in options) > side
    assert (advise(params, surface, base, options).best.resolution > side) == asked


def test_a_hidden_size_is_predicted_from_smaller_ones(params, info, base):
    surface = fitted(networks_of(params, info, (0, 1), 60))
    cut = params.scaling.model_copy(update={"stages": params.scaling.stages[:2]})
    smaller = params.model_copy(update={"scaling": cut})
    options = affordable(smaller, info.task, base, 4.0, SIDE)
    chosen = advise(smaller, surface, base, options).best
    accuracy = [truth(scale(params.space, base, by)) for by in options]
    assert truth(scale(params.space, base, chosen)) >= max(accuracy) - 0.007


# --- the plan -------------------------------------------------------------------------------------


def searched(params, info, base, count=60):
    """Return what a search would leave: its find and candidates that lie on the known surface."""
    budget = Budget(params.space, params.scaling, info.task)
    found = Found(
        base=base, strategies=[budget.feasible(base, size)[0] for size in range(3)],
        score=0.5, chain=[], measured=count,
    )  # fmt: skip
    candidates = [
        Candidate(
            number=number, network=network, base=of, scaling=by, size=size, depth=by.depth,
            width=by.width, resolution=by.resolution, flops=1, params=1, accuracy=truth(network),
            probability=0.5, score=0.5, predicted=None,
            phase=FINETUNED if number % 3 == 0 else "bases", iteration=1, generation=0,
        )
        for number, (network, (of, by, size)) in enumerate(
            networks_of(params, info, (0, 1, 2), count).items()
        )
    ]  # fmt: skip
    return found, candidates


def beyond(make_params, **section):
    family = {f"S{i}": {"multiple": 2**i, "seed": 0} for i in range(4)}
    return make_params({"family": family, "extrapolate": {"tolerance": 0.3} | section})


def planned(params, info, given):
    return plan.family(params, info, *given, np.random.default_rng(params.extrapolate.seed))


@pytest.fixture(scope="module")
def imaged(info):
    return info.model_copy(update={"size": SIDE})


def test_the_law_in_params_plans_what_lies_beyond_the_search(make_params, imaged, base):
    given = searched(beyond(make_params), imaged, base)
    members, report = planned(beyond(make_params, law="surface"), imaged, given)
    said = report["surface"]["members"]
    assert [str(m.scaling) for m in members[3:]] == [said[name]["best"] for name in ("S3",)]
    assert [m.scaling for m in members[:3]] == given[0].strategies
    assert set(report["surface"]["noise"]) == {SHARED, TUNED}
    assert all(0 <= about["regret"] < 0.2 for about in said.values())
    others, report = planned(beyond(make_params, law="dimensions"), imaged, given)
    assert [m.scaling for m in others[3:]] != [m.scaling for m in members[3:]]
    about = report["surface"]["members"]["S3"]
    assert about["best"] == said["S3"]["best"] and about["regret"] >= said["S3"]["regret"]


def test_a_plan_is_a_function_of_its_seed(make_params, imaged, base):
    params = beyond(make_params, law="surface")
    given = searched(params, imaged, base)
    first, second = (planned(params, imaged, given)[1] for _ in range(2))
    assert first == second


@pytest.mark.parametrize("count", [60, 4])
def test_a_plan_says_what_its_table_and_metrics_need(make_params, imaged, base, count):
    params = beyond(make_params, law="dimensions")
    members, report = planned(params, imaged, searched(params, imaged, base, count))
    rows = plan.table(members, report)
    assert len(rows) == 12 and {len(row) for row in rows} == {len(plan.COLUMNS)}
    assert (rows[-1][-1] is None) == (count == 4)
    regret = plan.metrics(report)["regret"]
    assert list(regret) == ([] if count == 4 else ["S0", "S1", "S2", "S3"])


def test_a_family_beyond_a_tiny_search_is_refused_only_if_the_surface_is_asked(
    make_params, imaged, base
):
    found, candidates = searched(beyond(make_params), imaged, base, count=4)
    with pytest.raises(ValueError, match="surface needs at least 6"):
        planned(beyond(make_params, law="surface"), imaged, (found, candidates))
    planned(beyond(make_params, law="dimensions"), imaged, (found, candidates))
    short = make_params({"extrapolate": {"law": "surface"}})  # S0 and S1: both were searched
    assert planned(short, imaged, (found, candidates))[1]["surface"] is None


def test_candidates_are_read_as_they_were_written(make_params, imaged, base, tmp_path):
    _, candidates = searched(beyond(make_params), imaged, base, count=8)
    rows = [candidate.plain() for candidate in candidates]
    files.write_table(tmp_path / "c.csv", rows[0], [row.values() for row in rows])
    assert Candidate.read_all(tmp_path / "c.csv") == candidates
    files.write_table(tmp_path / "other.csv", ["number"], [[1]])
    for name, reason in (("other", "no table of candidates"), ("absent", "cannot be read")):
        with pytest.raises(ValueError, match=f"{name}.csv: {reason}"):
            Candidate.read_all(tmp_path / f"{name}.csv")


def test_a_prediction_of_0_is_no_missing_one(make_params, imaged, base, tmp_path):
    candidate = searched(beyond(make_params), imaged, base, count=8)[1][0]
    for predicted in (0.0, None):
        row = candidate.model_copy(update={"predicted": predicted}).plain()
        assert Candidate(**row).predicted == predicted
        files.write_table(tmp_path / "c.csv", row, [row.values()])
        assert Candidate.read_all(tmp_path / "c.csv")[0].predicted == predicted


def test_a_strategy_rounded_down_makes_no_layer_more():
    assert Scaling(1.666, 1.0, 8).depth * 3 < 5
