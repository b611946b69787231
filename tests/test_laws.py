"""Laws: recovered from noisy points, with intervals that cover as often as they claim."""

import dataclasses
import json
import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scalenet.config.params import AccuracyPrior
from scalenet.laws.accuracy import Point, fit_accuracy
from scalenet.laws.intervals import wilson, worth
from scalenet.laws.strategies import fit
from scalenet.laws.verdict import guesses
from scalenet.pipeline.models.evidence import answer_faults
from scalenet.records.predictions import answers, equal_groups

NOISE = 0.02  # log units: what rounding d or w to 0.1 leaves, about
LAWS = {  # known laws log v of φ = 1…n, of each family, with terms that the noise half hides
    "compound": lambda phi, n: 0.18 * phi,
    "line": lambda phi, n: 0.14 * phi + 4 * NOISE,
    "bend": lambda phi, n: 0.10 * phi + 0.6 * NOISE * phi**2,
    "curve": lambda phi, n: 0.10 * phi + 0.3 * NOISE * (phi - 1) * (phi - n),
}


def sizes(n):
    return np.arange(1.0, n + 1)


def simulate(law, n, ahead, repeats, searched=False):
    """Return the coverage of 95 % intervals ``ahead`` sizes beyond n, and their median half-width.

    The latter in units of the noise.
    """
    rng, phi, hits, widths = np.random.default_rng([n, ahead]), sizes(n), 0, []
    for _ in range(repeats):
        noisy = np.exp(law(phi, n) + NOISE * rng.standard_normal(n))
        truth = math.exp(law(float(n + ahead), n) + searched * NOISE * rng.standard_normal())
        p = fit(phi, noisy, 1.0, 0.95).predict(n + ahead, searched=searched)
        assert p.low <= p.value <= p.high
        hits += p.low <= truth <= p.high
        widths.append(math.log(p.high / p.low) / 2 / NOISE)
    return hits / repeats, np.median(widths)


# ---- strategy laws


@pytest.mark.parametrize("ahead", [1, 2])
@pytest.mark.parametrize(
    "name, n",
    [
        ("compound", 4),
        ("line", 4),
        ("bend", 4),
        ("compound", 5),
        ("bend", 5),
        ("curve", 6),
        ("curve", 8),
    ],
)
def test_intervals_cover_known_laws_as_often_as_they_claim(name, n, ahead):
    coverage, width = simulate(LAWS[name], n, ahead, repeats=150)
    assert coverage >= 0.91  # 95 % less two standard errors of 150 simulations
    assert width < {4: 25, 5: 15, 6: 10, 8: 6}[n]


def test_intervals_are_not_trivially_wide():
    coverage, width = simulate(LAWS["compound"], 8, 1, repeats=300)
    assert 0.92 <= coverage <= 0.98
    assert width < 4


def test_interval_for_a_new_searched_size_covers_its_noise_too():
    coverage, _ = simulate(LAWS["line"], 5, 1, repeats=300, searched=True)
    assert coverage >= 0.92
    law = fit(sizes(4), [1.1, 1.25, 1.32, 1.5], 1.0, 0.95)
    inner, outer = law.predict(5), law.predict(5, searched=True)
    assert outer.low < inner.low and inner.high < outer.high and outer.value == inner.value


def test_the_winners_own_interval_would_not_cover():
    rng, law, n, hits = np.random.default_rng(0), LAWS["bend"], 4, 0
    for _ in range(200):
        fitted = fit(sizes(n), np.exp(law(sizes(n), n) + NOISE * rng.standard_normal(n)), 1.0, 0.95)
        _, low, high = fitted.chosen.interval(n + 2, 0.95, False)
        hits += low <= law(n + 2.0, n) <= high
    assert hits / 200 < 0.8


def test_rounding_to_a_grid_is_covered():
    rng, hits = np.random.default_rng(1), 0
    for _ in range(200):
        alpha, phi = rng.uniform(1.1, 1.3), sizes(5)
        hits += (
            (p := fit(phi, np.round(alpha**phi, 1), 1.0, 0.95).predict(6)).low <= alpha**6 <= p.high
        )
    assert hits / 200 >= 0.92


@pytest.mark.parametrize("name, n", [("compound", 4), ("line", 4), ("bend", 4), ("curve", 6)])
def test_exact_points_give_the_law_back_without_an_interval(name, n):
    law = fit(sizes(n), 224 * np.exp(LAWS[name](sizes(n), n)), 224, 0.95)
    p = law.predict(n + 2.5)
    assert law.name == name
    assert p.value == pytest.approx(224 * math.exp(LAWS[name](n + 2.5, n)), rel=1e-9)
    assert p.high / p.low == pytest.approx(1, abs=1e-6)


@given(
    alpha=st.floats(1.01, 2), start=st.floats(0.5, 600), n=st.integers(2, 8), phi=st.floats(0, 12)
)
@settings(max_examples=40, deadline=None)
def test_compound_law_is_recovered_at_any_scale(alpha, start, n, phi):
    law = fit(sizes(n), start * alpha ** sizes(n), start, 0.95)
    assert law.name == "compound"
    assert law.predict(phi).value == pytest.approx(start * alpha**phi, rel=1e-7)
    assert law.growth().value == pytest.approx(alpha)


def test_compound_interval_is_students():
    phi, values = np.array([1.0, 2.0, 3.0]), np.array([1.1, 1.3, 1.4])
    y = np.log(values)
    slope = phi @ y / (phi @ phi)
    error = math.sqrt(((y - slope * phi) ** 2).sum() / 2 / (phi @ phi))
    p = fit(phi, values, 1.0, 0.95).predict(4)
    assert [math.log(p.low), math.log(p.high)] == pytest.approx(
        [4 * (slope - 4.302652730 * error), 4 * (slope + 4.302652730 * error)]
    )


def test_leave_one_out_error_is_that_of_refits():
    phi, y = sizes(5), np.array([0.1, 0.35, 0.38, 0.6, 0.7])
    line = next(f for f in fit(phi, np.exp(y), 1.0, 0.9).fits if f.name == "line")
    errors = [
        y[i] - np.polyval(np.polyfit(np.delete(phi, i), np.delete(y, i), 1), phi[i])
        for i in range(5)
    ]
    assert line.loo == pytest.approx(math.sqrt(np.mean(np.square(errors))))


def test_families_offered_by_number_of_searched_sizes():
    rng = np.random.default_rng(0)
    offered = {}
    for n in (2, 3, 4, 5, 6):
        law = fit(sizes(n), np.exp(0.2 * sizes(n) + 0.05 * rng.standard_normal(n)), 1.0, 0.95)
        assert all(f.dof >= len(f.coefficients) for f in law.fits) and law.sizes == n
        assert (p := law.predict(n + 1)).low < p.value < p.high
        offered[n] = [f.name for f in law.fits]
    assert offered[2] == offered[3] == ["compound"]
    assert offered[4] == offered[5] == ["compound", "line", "bend"]
    assert offered[6] == ["compound", "line", "bend", "curve"]


def test_the_base_is_no_searched_size():
    law = fit([0, 1, 2, 3], [1.0, 1.12, 1.28, 1.52], 1.0, 0.95)
    assert law == fit([1, 2, 3], [1.12, 1.28, 1.52], 1.0, 0.95)
    assert law.predict(0) == dataclasses.replace(law.predict(0), value=1.0, low=1.0, high=1.0)
    assert fit([0, 1, 2, 3], [1.01, 1.12, 1.28, 1.52], 1.0, 0.95).sizes == 4


@pytest.mark.parametrize("phi", [[], [1], [0, 1], [0, 0]])
def test_too_few_sizes_are_refused(phi):
    with pytest.raises(ValueError, match=r"at least 2 searched sizes.*scaling\.stages"):
        fit(phi, np.exp(0.1 * np.array(phi)), 1.0, 0.95)


@pytest.mark.parametrize(
    "phi, values, start, confidence",
    [
        ([1, 2], [1.1], 1.0, 0.95),
        ([1, 2], [1.1, -1.0], 1.0, 0.95),
        ([1, math.nan], [1.1, 1.2], 1.0, 0.95),
        ([1, 2], [1.1, 1.2], 0.0, 0.95),
        ([1, 2], [1.1, 1.2], 1.0, 95),
    ],
)
def test_bad_input_is_refused(phi, values, start, confidence):
    with pytest.raises(ValueError, match="given"):
        fit(phi, values, start, confidence)


def test_laws_are_plain_documents():
    law = fit(sizes(6), [1.1, 1.2, 1.4, 1.5, 1.8, 2.0], 1.0, 0.95)
    accuracy = fitted(members([0.7, 0.8, 0.85]), draws=5)
    for document in (law, law.predict(7), accuracy, accuracy.predict(1e9)):
        assert json.loads(json.dumps(dataclasses.asdict(document), allow_nan=False))


def test_two_contradictory_sizes_stay_finite():
    p = fit([1, 2], [3.0, 0.01], 1.0, 0.999).predict(10)
    assert 0 < p.low < p.value < p.high < math.inf


# ---- accuracy law

PRIOR = AccuracyPrior(
    exponent=(0.5, 0.3), floor=(0.6, 0.1), unusual=0.02, scatter=(0.002, 0.8), short=0.3
)


def members(accuracies, tested=10_000):
    return [Point(1e8 * 2.0**i, round(a * tested), tested) for i, a in enumerate(accuracies)]


def known(i, top=0.9, scale=0.3, exponent=0.6):
    return top - scale * 2.0 ** (-exponent * np.asarray(i, float))


def fitted(points, prior=PRIOR, draws=200, seed=0):
    return fit_accuracy(points, prior, 0.95, draws, np.random.default_rng(seed))


def test_accuracy_law_is_recovered():
    law = fitted(members(known(range(6)), 10**9))
    p = law.predict(1e8 * 2**8)
    assert [law.top, law.scale, law.exponent] == pytest.approx([0.9, 0.3, 0.6], abs=0.02)
    assert p.value == pytest.approx(float(known(8)), abs=4e-3)
    assert p.high - p.low < 0.02 and law.flops0 == 1e8


def test_a_prior_tells_three_members_what_they_cannot_show():
    rng, errors, widths = np.random.default_rng(1), [], []
    flat = PRIOR.model_copy(update={"exponent": (0.5, 9.0), "floor": (0.5, 9.0)})
    truth = {"top": 0.84, "scale": 0.24, "exponent": 0.5}  # 0.6 of the errors stay
    for _ in range(20):
        shown = members(known(range(3), **truth) + 0.003 * rng.standard_normal(3), 50_000)
        both = [fitted(shown, prior).predict(1e8 * 2**5) for prior in (PRIOR, flat)]
        errors.append([abs(p.value - known(5, **truth)) for p in both])
        widths.append([p.high - p.low for p in both])
    knowing, ignorant = np.mean(errors, 0)
    assert knowing < 0.8 * ignorant
    assert np.mean(widths, 0)[0] < 0.8 * np.mean(widths, 0)[1]


def test_many_members_overrule_the_prior():
    """Nearly no floor, where the prior says 0.6: easy images, on which large networks err never."""
    truth = {"top": 0.998, "scale": 0.1, "exponent": 0.8}
    law = fitted(members(known(range(6), **truth), 20_000))
    assert law.top == pytest.approx(0.998, abs=0.004)
    assert law.predict(1e8 * 2**7).value == pytest.approx(float(known(7, **truth)), abs=0.002)


@pytest.mark.parametrize("count", [3, 5])
@pytest.mark.parametrize(
    "law", [{"scale": 0.2}, {"top": 0.84, "scale": 0.24}, {"top": 0.99, "scale": 0.02}]
)
def test_accuracy_intervals_cover_the_next_test_as_often_as_they_claim(law, count):
    rng, hits, widths = np.random.default_rng(3), 0, []

    def tested(i):
        """Train, which scatters by 0.3 points, and test on 2000 images."""
        return rng.binomial(2000, np.clip(known(i, **law) + 0.003 * rng.standard_normal(), 0, 1))

    for _ in range(60):
        drawn = [Point(1e8 * 2.0**i, int(tested(i)), 2000) for i in range(count)]
        p = fit_accuracy(drawn, PRIOR, 0.95, 100, rng).predict(1e8 * 2**count)
        hits += p.low <= tested(count) / 2000 <= p.high
        widths.append(p.high - p.low)
    assert hits >= 53  # 95 % less two standard errors of 60 simulations
    assert np.median(widths) < 0.08


@pytest.mark.parametrize(
    "accuracies",
    [
        [0.97, 0.985, 0.99, 0.99, 0.992, 0.989],
        [0.9, 0.9, 0.9],
        [1.0, 1.0, 1.0, 1.0],
        [0.0, 0.0, 0.0],
        [0.9, 0.8, 0.7, 0.6],
        [0.1, 0.9, 0.1, 0.9],
        [0.1, 0.4, 0.7, 1.0],
    ],
)
def test_flat_saturated_and_unordered_accuracies_are_borne(accuracies):
    law = fitted(members(accuracies, 500), draws=50)
    assert 0 <= law.top <= 1 and law.scale >= 0 and law.dispersion >= 1
    last, beyond = (law.predict(1e8 * 2.0**i) for i in (len(accuracies) - 1, len(accuracies) + 3))
    assert 0 <= last.low <= last.value <= last.high <= 1
    assert last.value <= beyond.value and 0 <= beyond.low <= beyond.high <= 1


def test_scatter_beyond_the_test_sets_widens_the_interval():
    smooth, rough = known(range(6)), known(range(6)) + 0.02 * np.array([1, -1, 1, -1, 1, -1])
    laws = [fitted(members(accuracies)) for accuracies in (smooth, rough)]
    widths = [(p := law.predict(1e8 * 2**6)).high - p.low for law in laws]
    assert widths[1] > 2 * widths[0] and laws[1].scatter > 3 * laws[0].scatter


def test_fewer_test_images_widen_the_interval():
    laws = [fitted(members(known(range(4)), tested)) for tested in (300, 30_000)]
    few, many = ((p := law.predict(1e8 * 2**4)).high - p.low for law in laws)
    assert few > 2 * many


def test_accuracy_law_repeats_with_its_generator_and_is_quick():
    start = time.process_time()
    a, b = (fitted(members(known(range(6))), draws=400, seed=5) for _ in range(2))
    assert a == b
    assert len(a.draws) == 400
    assert time.process_time() - start < 3


@pytest.mark.parametrize(
    "bad, draws, reason",
    [
        (members([0.8, 0.9]), 10, "at least 3 trained members"),
        ([Point(1e8, 1, 2)] * 4, 10, "spend differently"),
        ([*members([0.8, 0.9]), Point(1e9, 11, 10)], 10, "correct ≤ tested"),
        (members([0.7, 0.8, 0.9]), 0, "at least 1 draw"),
    ],
)
def test_accuracy_law_refuses(bad, draws, reason):
    with pytest.raises(ValueError, match=reason):
        fitted(bad, draws=draws)


# ---- Wilson's interval


def test_wilson_is_the_textbooks():
    z, n, p = 1.959963985, 100, 0.8
    centre, half = (p + z * z / 2 / n), z * math.sqrt(p * (1 - p) / n + z * z / 4 / n / n)
    assert wilson(80, 100, 0.95) == pytest.approx(
        ((centre - half) / (1 + z * z / n), (centre + half) / (1 + z * z / n))
    )


@given(tested=st.integers(1, 10**6), share=st.floats(0, 1), confidence=st.floats(0.5, 0.999))
@settings(max_examples=50, deadline=None)
def test_wilson_holds_the_proportion_inside_0_and_1(tested, share, confidence):
    correct = int(share * tested)
    low, high = wilson(correct, tested, confidence)
    assert (
        0 <= low <= correct / tested + 1e-12
        and correct / tested - 1e-12 <= high <= 1
        and low < high
    )


@pytest.mark.parametrize(
    ("count", "alike", "share"), [(20, 0.3, 0.9), (8, 0.3, 0.8), (40, 0.9, 0.7)]
)
def test_an_interval_of_groups_covers_what_it_says(count, alike, share):
    rng, groups = np.random.default_rng(0), np.repeat(np.arange(count), 25)
    spread, covered, naive = 1 / alike - 1, 0, 0
    for _ in range(300):
        easy = rng.beta(share * spread, (1 - share) * spread, count)[groups]
        right = rng.random(len(groups)) < easy
        part = worth(right, groups, 0.95)
        low, high = wilson(part * right.sum(), part * len(right), 0.95)
        covered += low <= share <= high
        low, high = wilson(int(right.sum()), len(right), 0.95)
        naive += low <= share <= high
    assert covered / 300 > 0.9 and naive / 300 < 0.6


@pytest.mark.parametrize("sizes", [[10] * 40 + [200] * 2, [5] * 30 + [150], [5] * 30 + [500]])
@pytest.mark.parametrize("alike", [0.1, 0.4])
def test_an_interval_of_unequal_groups_covers_what_it_says(sizes, alike):
    """A few large groups decide, however many small ones there are beside them."""
    rng, groups = np.random.default_rng(0), np.repeat(np.arange(len(sizes)), sizes)
    spread, covered = 1 / alike - 1, 0
    for _ in range(300):
        easy = rng.beta(0.85 * spread, 0.15 * spread, len(sizes))[groups]
        right = rng.random(len(groups)) < easy
        part = worth(right, groups, 0.95)
        low, high = wilson(part * right.sum(), part * len(right), 0.95)
        covered += low <= 0.85 <= high
    assert covered / 300 > 0.88


def test_unequal_groups_are_worth_fewer_equal_ones():
    assert equal_groups(np.arange(9)) == 9 and equal_groups(np.repeat([3, 5], 4)) == 2
    assert equal_groups(np.repeat(np.arange(31), [5] * 30 + [500])) == pytest.approx(1.68, abs=0.01)


@pytest.mark.parametrize(("classes", "of", "most"), [(2, 1, 0.01), (5, 1, 0.01), (2, 5, 0.05)])
def test_whoever_guesses_group_by_group_tells_no_classes_apart(classes, of, most):
    """A group is called one thing or the other as a whole: images of one are no evidence."""
    rng, passed = np.random.default_rng(0), 0
    labels = np.repeat(np.arange(classes), of * 50)
    groups = np.repeat(np.arange(classes * of), 50)
    for _ in range(200):
        said = [rng.choice(classes, 50, p=rng.dirichlet(np.full(classes, 0.3)))
                for _ in range(classes * of)]  # fmt: skip
        passed += not guesses(answers(labels, np.concatenate(said))._replace(groups=groups), 0.95)
    assert passed / 200 <= most


def test_of_images_of_one_class_nobody_tells_who_guesses():
    labels = np.zeros(30, int)
    assert not guesses(answers(labels, labels), 0.95)
    assert list(answer_faults(answers(labels, labels), 0.95, "select")) == []


def test_what_images_of_groups_are_worth():
    rng = np.random.default_rng(0)
    right = rng.random(1000) < 0.8
    assert worth(right, None, 0.95) == worth(right, rng.permutation(1000), 0.95) == 1
    assert 0.8 < worth(right, rng.integers(0, 200, 1000), 0.95) <= 1, "alike by chance alone"
    fives = np.repeat(right[:200], 5)
    assert worth(fives, np.arange(1000) // 5, 0.95) == pytest.approx(1 / 5, rel=0.05)
    assert worth(np.ones(1000), np.arange(1000) // 5, 0.95) == pytest.approx(1 / 5, rel=0.05)
    assert worth(right, np.zeros(1000, int), 0.95) == 1 / 1000, "one group"
    assert worth(right, np.full(1000, 7), 0.95) == 1 / 1000, "whatever its number"


@pytest.mark.parametrize(
    "correct, tested, confidence", [(3, 2, 0.95), (-1, 2, 0.95), (0, 0, 0.95), (1, 2, 1.0)]
)
def test_wilson_refuses(correct, tested, confidence):
    with pytest.raises(ValueError, match="given"):
        wilson(correct, tested, confidence)
