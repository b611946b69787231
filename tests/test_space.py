"""The space: membership, canonical strings, scaling rules, and what sampling samples."""

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare, ks_2samp

from scalenet.space import cost, sampling
from scalenet.space.network import Block, Network, Task
from scalenet.space.scale import ceil, contains, largest, scale, scale_width, smallest
from scalenet.space.scaling import BaseBlock, BaseModel, Scaling, strategies

SEEDS = st.integers(0, 2**32 - 1)
KERNELS = st.lists(
    st.lists(st.sampled_from([1, 3, 5, 7, 11]), min_size=1, max_size=5).map(tuple),
    min_size=1,
    max_size=4,
)
MULTIPLIERS = st.floats(0.5, 4, allow_nan=False)


def sampler(params, weights=None, uniform=False):
    return sampling.Sampler(params.space, params.scaling, weights, uniform)


def nearest_space(params, **changes):
    return params.space.model_copy(update={"rounding": "nearest", "divisor": 8} | changes)


# --- membership and strings -----------------------------------------------------------------------


@given(seed=SEEDS, uniform=st.booleans())
def test_sampled_networks_are_in_the_space(params, seed, uniform):
    sample = sampler(params, uniform=uniform).draw(np.random.default_rng(seed))
    assert contains(params.space, sample.base)
    assert sample.scaling in strategies(params.scaling, sample.size)
    assert sample.network == scale(params.space, sample.base, sample.scaling)


def test_contains_refuses_what_is_outside(params):
    assert contains(params.space, BaseModel.parse("k3e1-3.5e2-7e3"))
    for outside in (
        "k3e1-3.5e2",
        "k3e1-3.5e2-9e3",
        "k5e1-3e2-3e3",
        "k3e1-3.3.3.3e2-3e3",
        "k3e1-3.5e2-7e2",
    ):
        assert not contains(params.space, BaseModel.parse(outside)), outside
    without_layers = (BaseBlock((3,), 1), BaseBlock((), 2), BaseBlock((3,), 3))
    assert not contains(params.space, BaseModel(without_layers))


def test_walk_yields_every_base_model_once(params):
    every = list(sampling.walk(params.space))
    assert len(every) == len(set(every)) == 1 * (2 + 4 + 8) * 2 * (3 + 9)
    assert all(contains(params.space, base) for base in every)
    generator = np.random.default_rng(0)
    assert {sampling.sample_base(params.space, generator) for _ in range(200)} <= set(every)


@given(seed=SEEDS)
def test_network_survives_its_string(params, seed):
    network = sampler(params).draw(np.random.default_rng(seed)).network
    assert Network.parse(str(network)) == network


@given(
    kernels=KERNELS,
    numbers=st.lists(st.integers(1, 999), min_size=5, max_size=5),
    se=st.floats(0, 1),
    se_from=st.sampled_from(["expanded", "input"]),
    activation=st.sampled_from(["hard_swish", "swish", "relu"]),
)
def test_any_network_survives_its_string(kernels, numbers, se, se_from, activation):
    resolution, kernel, stride, width, head = numbers
    blocks = tuple(Block(k, 1 + i % 2, 1 + i, 4 * i + 4) for i, k in enumerate(kernels))
    parts = (resolution, kernel | 1, stride, width, blocks, head, se, se_from, activation)
    network = Network(*parts)
    assert Network.parse(str(network)) == network


@pytest.mark.parametrize(
    ("part", "odd"),
    [("r12", "r0"), ("stem_k3", "stem_k4"), ("k3.5", "k3.6"), ("s2", "s0"), ("e4", "e0"),
     ("c16", "c0"), ("head_c64", "head_c0"), ("se0.25", "se0.2.5")],
)  # fmt: skip
def test_a_string_of_what_no_network_has_is_none(part, odd):
    """Its FLOPs were told, though nothing computes so: even kernels, nothing hidden."""
    text = "r12-stem_k3_s1_c8-ir_k3.5_s2_e4_c16-head_c64-se0.25e-hard_swish"
    assert str(Network.parse(text)) == text
    with pytest.raises(ValueError, match=r"is no network; expected one like"):
        Network.parse(text.replace(part, odd))


@given(kernels=KERNELS, expands=st.lists(st.integers(1, 99), min_size=4, max_size=4))
def test_base_model_survives_its_string(kernels, expands):
    base = BaseModel(tuple(map(BaseBlock, kernels, expands)))
    assert BaseModel.parse(str(base)) == base


@given(depth=st.floats(1e-3, 100), width=st.floats(1e-3, 100), resolution=st.integers(1, 5000))
def test_scaling_survives_its_string(depth, width, resolution):
    by = Scaling(depth, width, resolution)
    assert Scaling.parse(str(by)) == by


def test_strings_are_short():
    assert str(Scaling(1.0, 1.15, 224)) == "d1-w1.15-r224"
    assert str(BaseModel((BaseBlock((3,), 1), BaseBlock((3, 5), 6)))) == "k3e1-3.5e6"
    example = "r12-stem_k3_s1_c8-ir_k3.5_s2_e4_c16-head_c64-se0.25e-hard_swish"
    assert str(Network.parse(example)) == example


def test_a_base_model_without_expansion_ratios_is_explained():
    with pytest.raises(ValueError, match=r"'k3-3\.5' is no base model; .*'k3e1-3\.5e3-5\.5\.3e6'"):
        BaseModel.parse("k3-3.5")


@pytest.mark.parametrize("kind", [BaseModel, Scaling, Network])
@pytest.mark.parametrize(
    "text",
    [
        "",
        "k",
        "k3-3.5",
        "k3e1-3.5",
        "k3e1--3e1",
        "k3.e1-3e1",
        "k3e-3e1",
        "k3e1.5",
        "d1-w1",
        "d1-w1-r",
        "r12-stem_k3_s1_c8-head_c64",
        "k3e1 ",
        "d.-w1-r8",
    ],
)
def test_other_strings_are_refused(kind, text):
    with pytest.raises(ValueError):
        kind.parse(text)


# --- scale(α, s) ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layers", "by", "scaled"),
    [
        (5, 1.2, 6),
        (3, 1.4, 5),
        (1, 1.0, 1),
        (4, 1.16, 5),
        (4, 1.0, 4),
        (5, 1.4, 7),
        (1, 1.04, 2),
        (10, 1.1, 11),
        (3, 2, 6),
    ],
)
def test_depth_is_rounded_up_without_float_dust(layers, by, scaled):
    assert ceil(layers * by) == scaled


def test_depth_is_the_exact_ceiling_for_every_two_decimals():
    dusty = 0
    for layers in range(1, 41):
        for cents in range(1, 501):
            exact = -(-layers * cents // 100)
            assert ceil(layers * (cents / 100)) == exact, (layers, cents)
            dusty += math.ceil(layers * (cents / 100)) != exact
    assert dusty, "the test is blind if no product carries dust"


def test_new_layers_repeat_the_last_kernel(params):
    network = scale(params.space, BaseModel.parse("k3e1-3.5.3e2-7.5e3"), Scaling(1.5, 1.0, 9))
    assert [stage.kernels for stage in network.blocks] == [(3, 3), (3, 5, 3, 3, 3), (7, 5, 5)]
    assert [stage.stride for stage in network.blocks] == [1, 2, 2] and network.resolution == 9
    assert [stage.expand for stage in network.blocks] == [1, 2, 3]


@given(
    seed=SEEDS,
    low=MULTIPLIERS,
    more=st.floats(0, 2),
    rounding=st.sampled_from(["up", "nearest"]),
    divisor=st.integers(1, 16),
)
def test_scaling_is_monotone(params, seed, low, more, rounding, divisor):
    where = params.space.model_copy(
        update={"rounding": rounding, "divisor": divisor, "scale_head": True}
    )
    base = sampling.sample_base(where, np.random.default_rng(seed))
    small, deep, wide = (
        scale(where, base, Scaling(d, w, 8))
        for d, w in ((low, low), (low + more, low), (low, low + more))
    )
    for a, b, c in zip(small.blocks, deep.blocks, wide.blocks, strict=True):
        assert (
            len(a.kernels) <= len(b.kernels)
            and b.kernels[: len(a.kernels)] == a.kernels
            and a.width == b.width
        )
        assert a.width <= c.width and a.kernels == c.kernels
    assert small.stem_width <= wide.stem_width and small.head_width <= wide.head_width


@given(width=st.integers(1, 2000), by=MULTIPLIERS, divisor=st.integers(1, 32))
def test_widths_are_multiples_of_the_divisor(params, width, by, divisor):
    up = scale_width(nearest_space(params, rounding="up", divisor=divisor), width, by)
    near = scale_width(nearest_space(params, divisor=divisor), width, by)
    assert up % divisor == near % divisor == 0 and up > 0 and near > 0
    assert width * by - 1e-5 * divisor <= up < width * by + divisor
    assert near >= 0.9 * width * by
    assert abs(near - width * by) <= divisor


@pytest.mark.parametrize(
    ("width", "by", "near"),
    [
        (32, 1.1, 32),
        (16, 1.2, 24),
        (24, 1.2, 32),
        (40, 1.1, 48),
        (1, 1, 8),
        (12, 1.0, 16),
        (8, 1.4, 16),
    ],
)
def test_nearest_is_efficientnets_rounding(params, width, by, near):
    """Values of timm's and the original's ``round_channels``; 8 · 1.4 = 11.2 must not become 8."""
    assert scale_width(nearest_space(params), width, by) == near


def test_up_forgives_float_dust(params):
    where = params.space.model_copy(update={"divisor": 1, "rounding": "up"})
    assert scale_width(where, 5, 1.2) == 6 and scale_width(where, 50, 1.16) == 58


def test_head_scales_only_if_asked(params):
    base, by = BaseModel.parse("k3e1-3e2-3e3"), Scaling(1.0, 2.0, 8)
    assert scale(params.space, base, by).head_width == 16
    assert scale(params.space.model_copy(update={"scale_head": True}), base, by).head_width == 32


@given(seed=SEEDS)
def test_every_network_lies_between_smallest_and_largest(params, seed):
    network = sampler(params).draw(np.random.default_rng(seed)).network
    least, most = (
        smallest(params.space, params.scaling),
        largest(params.space, params.scaling),
    )
    for a, b, c in zip(least.blocks, network.blocks, most.blocks, strict=True):
        assert len(a.kernels) <= len(b.kernels) <= len(c.kernels) and a.width <= b.width <= c.width
        assert a.expand <= b.expand <= c.expand
    assert [block.expand for block in least.blocks] == [1, 2, 1]
    assert [block.expand for block in most.blocks] == [1, 2, 3]
    assert least.resolution <= network.resolution <= most.resolution
    assert (
        cost.flops(least, Task(1, 3))
        <= cost.flops(network, Task(1, 3))
        <= cost.flops(most, Task(1, 3))
    )


# --- sampling -------------------------------------------------------------------------------------


@pytest.mark.parametrize("weights", [None, (1.0, 1.0, 1.0), (0.2, 0.0, 3.0)])
def test_sizes_are_sampled_as_asked(params, weights):
    asked = np.array(weights or [1, 27, 27], dtype=float)
    generator, draws = np.random.default_rng(1), 4000
    chosen = sampler(params, weights)
    seen = Counter(chosen.draw(generator).size for _ in range(draws))
    observed, expected = np.array([seen[i] for i in range(3)]), asked / asked.sum() * draws
    assert (observed[expected == 0] == 0).all()
    assert chisquare(observed[expected > 0], expected[expected > 0]).pvalue > 0.01


def test_strategies_and_depths_are_sampled_evenly(params):
    generator, chosen = np.random.default_rng(2), sampler(params, (0.0, 1.0, 0.0))
    samples = [chosen.draw(generator) for _ in range(4000)]
    by_strategy = Counter(sample.scaling for sample in samples)
    assert len(by_strategy) == 27 and chisquare(list(by_strategy.values())).pvalue > 0.01
    for stage, depth in enumerate((1, 3, 2)):
        depths = Counter(len(sample.base.blocks[stage].kernels) for sample in samples)
        assert len(depths) == depth and (
            depth == 1 or chisquare(list(depths.values())).pvalue > 0.01
        )


def test_expansion_ratios_are_sampled_evenly_whatever_the_depth(params):
    generator, chosen = np.random.default_rng(5), sampler(params)
    blocks = [chosen.draw(generator).base.blocks[2] for _ in range(4000)]
    seen = Counter((len(block.kernels), block.expand) for block in blocks)
    assert seen.keys() == {(1, 1), (1, 3), (2, 1), (2, 3)}
    assert chisquare(list(seen.values())).pvalue > 0.01


def test_uniform_sampling_is_uniform_over_base_models(params):
    generator = np.random.default_rng(3)
    seen = Counter(sampling.sample_base_uniform(params.space, generator) for _ in range(336 * 40))
    assert len(seen) == 336 and chisquare(list(seen.values())).pvalue > 0.01


def test_uniform_and_hierarchical_histograms_differ(params):
    def flops(uniform):
        generator, chosen = np.random.default_rng(4), sampler(params, (1, 1, 1), uniform)
        return [cost.flops(chosen.draw(generator).network, Task(1, 3)) for _ in range(1500)]

    even, starved = flops(uniform=False), flops(uniform=True)
    assert ks_2samp(even, starved).pvalue < 1e-9
    smallest = np.quantile(even, 0.1)
    assert (
        np.mean(np.array(starved) <= smallest) < 0.05
    )  # docs/method.md §3: the smallest networks starve


def test_a_space_of_more_base_models_than_floats_hold_is_sampled_uniformly(make_params):
    """3 kernels in 700 layers are 3^700 choices of a block."""
    block = {"width": 4, "depth": 700, "stride": 1, "expands": [1], "kernels": [3, 5, 7]}
    space = make_params({"space": {"stages": [block]}}).space
    generator = np.random.default_rng(0)
    drawn = [sampling.sample_base_uniform(space, generator).blocks[0] for _ in range(300)]
    depths = [len(chosen.kernels) for chosen in drawn]
    assert min(depths) > 690 and 0.55 < depths.count(700) / 300 < 0.78, "two thirds are deepest"


@given(seed=SEEDS)
@settings(max_examples=20)
def test_sampling_is_a_function_of_the_seed(params, seed):
    first, second = (sampler(params).draw(np.random.default_rng(seed)) for _ in range(2))
    assert first == second and all(
        type(k) is int for b in first.base.blocks for k in (*b.kernels, b.expand)
    )


def test_first_that_is_bounded_and_says_what_it_missed():
    drawn = iter(range(100))
    with pytest.raises(
        ValueError, match=r"the asked thing: none found in 7 tries; the nearest misses it by 0\.5"
    ):
        sampling.first_that(
            lambda: next(drawn), lambda value: abs(value - 3.5), 7, "the asked thing"
        )
    assert next(drawn) == 7
    assert sampling.first_that(lambda: next(drawn), lambda value: abs(value - 20), 50, "") == 20
    assert next(drawn) == 21
