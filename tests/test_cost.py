"""Cost: the description's FLOPs and parameters against the real module and against EfficientNet."""

import dataclasses
import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from scalenet.config.space import Space
from scalenet.nets.child import Child
from scalenet.space import cost
from scalenet.space.network import Network, Task
from scalenet.space.sampling import sample_base
from scalenet.space.scale import contains, scale
from scalenet.space.scaling import BaseBlock, BaseModel, Scaling, all_strategies, strategies
from scalenet.space.table import Table

GOLDEN = json.loads((Path(__file__).parent / "golden" / "efficientnet.json").read_text())["members"]
BASE = BaseModel.parse("k3e1-3.3e6-5.5e6-3.3.3e6-5.5.5e6-5.5.5.5e6-3e6")  # B0's


def efficientnet() -> Space:
    """Describe EfficientNet's space in ours."""
    rows = zip(
        (16, 24, 40, 80, 112, 192, 320),
        (1, 2, 2, 3, 3, 4, 1),
        (1, 2, 2, 2, 1, 2, 1),
        (1, 6, 6, 6, 6, 6, 6),
        strict=True,
    )
    stages = [
        {"width": w, "depth": d, "stride": s, "expands": [e], "kernels": [3, 5]}
        for w, d, s, e in rows
    ]
    rules = {"se_ratio": 0.25, "se_from": "input", "activation": "swish"}
    rounding = {"divisor": 8, "rounding": "nearest", "scale_head": True}
    stem = {"width": 32, "kernel": 3, "stride": 2}
    return Space.model_validate(
        {"stem": stem, "stages": stages, "head": {"width": 1280}} | rules | rounding
    )


def build(network: Network, channels: int, classes: int, device: str) -> tuple[Child, torch.Tensor]:
    """Return a child and an image; on ``meta`` nothing is computed, everything is counted."""
    with torch.device(device):
        return Child(network, Task(channels, classes)), torch.zeros(
            1, channels, network.resolution, network.resolution
        )


def hook_count(child: Child, images: torch.Tensor) -> int:
    """Count multiply-accumulates from the shapes that every convolution and matrix really has."""
    total, conv2d, linear = 0, F.conv2d, F.linear

    def counted_conv(x, weight, *args, **kwargs):
        nonlocal total
        out = conv2d(x, weight, *args, **kwargs)
        total += out.numel() * weight[0].numel()
        return out

    def counted_linear(x, weight, bias=None):
        nonlocal total
        total += x.numel() // x.shape[-1] * weight.numel()
        return linear(x, weight, bias)

    with pytest.MonkeyPatch.context() as patch, torch.no_grad():
        patch.setattr(F, "conv2d", counted_conv)
        patch.setattr(F, "linear", counted_linear)
        child.eval()(images)
    return total


def torch_count(child: Child, images: torch.Tensor) -> int:
    """Count with PyTorch's own counter, which has 2 operations per multiply-accumulate."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        child.eval()(images)
    return counter.get_total_flops() // 2


def check(network: Network, channels: int, classes: int, device: str = "cpu") -> None:
    """Compare the description's cost with both counts of the real module."""
    child, images = build(network, channels, classes, device)
    flops = cost.flops(network, Task(channels, classes))
    assert flops == hook_count(child, images) == torch_count(child, images)
    assert cost.parameters(network, Task(channels, classes)) == sum(
        p.numel() for p in child.parameters()
    )


@given(
    seed=st.integers(0, 2**32 - 1),
    stage=st.integers(0, 2),
    strides=st.lists(st.integers(1, 3), min_size=4, max_size=4),
    se=st.sampled_from(
        [("input", 0.25), ("expanded", 0.25), ("expanded", 0), ("input", 0), ("input", 0.1)]
    ),
    images=st.tuples(st.integers(1, 33), st.sampled_from([1, 3])),
)
@settings(max_examples=60, deadline=None)
def test_cost_is_the_real_modules(params, seed, stage, strides, se, images):
    stages = tuple(
        s.model_copy(update={"stride": t})
        for s, t in zip(params.space.stages, strides[1:], strict=True)
    )
    stem = params.space.stem.model_copy(update={"stride": strides[0]})
    update = {"stages": stages, "stem": stem, "se_from": se[0], "se_ratio": se[1]}
    where = params.space.model_copy(update=update)
    generator = np.random.default_rng(seed)
    offered = strategies(params.scaling, stage)
    by = offered[int(generator.integers(len(offered)))]
    base = sample_base(where, generator)
    resolution, channels = images
    check(scale(where, base, Scaling(by.depth, by.width, resolution)), channels, classes=3)


@pytest.mark.parametrize("text", ["k1e2-1.1e2-1.3e2", "k3e1-3.1e2-1.1e2"])
def test_cost_of_kernels_of_one_pixel_is_the_real_modules(params, text):
    """Depthwise ones, those that stride, and a stem that takes every other pixel."""
    stem = params.space.stem.model_copy(update={"kernel": 1, "stride": 2})
    where = params.space.model_copy(update={"stem": stem})
    check(scale(where, BaseModel.parse(text), Scaling(1.0, 1.5, 13)), 1, classes=3)


def test_cost_of_a_network_that_is_really_computed(params):
    network = sample_base(params.space, np.random.default_rng(0))
    network = scale(params.space, network, Scaling(1.4, 1.5, 13))
    child, images = Child(network, Task(1, 3)), torch.zeros(2, 1, 13, 13)
    assert (
        torch_count(child, images)
        == hook_count(child, images)
        == 2 * cost.flops(network, Task(1, 3))
    )


@pytest.mark.parametrize("name", GOLDEN)
def test_efficientnet_costs_exactly_what_timm_counts(name):
    """docs/method.md §2's check of generality."""
    where, row, base = efficientnet(), GOLDEN[name], BASE
    assert contains(where, base)
    network = scale(where, base, Scaling(row["depth"], row["width"], row["resolution"]))
    assert cost.parameters(network, Task(3, 1000)) == row["params"]
    assert cost.flops(network, Task(3, 1000)) == row["flops"]
    assert cost.flops(Network.parse(str(network)), Task(3, 1000)) == row["flops"]


@pytest.mark.parametrize("name", ["B0", "B7"])
def test_an_efficientnet_child_counts_the_same(name):
    row = GOLDEN[name]
    by = Scaling(row["depth"], row["width"], row["resolution"])
    check(scale(efficientnet(), BASE, by), 3, 1000, device="meta")


@given(px=st.integers(1, 60), stride=st.integers(1, 4), k=st.sampled_from([1, 3, 5, 7]))
def test_halve_is_a_padded_convolutions_side(px, stride, k):
    out = F.conv2d(
        torch.zeros(1, 1, px, px, device="meta"),
        torch.zeros(1, 1, k, k, device="meta"),
        None,
        stride,
        k // 2,
    )
    assert out.shape[-1] == cost.output_side(px, stride)


@pytest.mark.parametrize(
    ("se_from", "ratio", "width"), [("input", 0.25, 1), ("expanded", 0.25, 4), ("input", 0.1, 1)]
)
def test_squeeze_widths_are_cut_off_but_never_0(params, se_from, ratio, width):
    where = params.space.model_copy(update={"se_from": se_from, "se_ratio": ratio})
    network = scale(where, BaseModel.parse("k3e1-3e2-3e3"), Scaling(1.0, 1.0, 8))
    assert cost.se_width(network, w_in=7, hidden=19) == width
    assert cost.se_width(dataclasses.replace(network, se_ratio=0.0), w_in=7, hidden=19) == 0


@given(
    seed=st.integers(0, 2**32 - 1),
    channels=st.sampled_from([1, 3]),
    ratio=st.sampled_from([0, 0.25]),
)
@settings(max_examples=20)
def test_a_table_gives_the_same_integers(params, seed, channels, ratio):
    where, generator = (
        params.space.model_copy(update={"se_ratio": ratio}),
        np.random.default_rng(seed),
    )
    every = [*all_strategies(params.scaling), Scaling(0.5, 1.0, 8)]  # shallower, too
    pairs = [
        (sample_base(where, generator), every[int(generator.integers(len(every)))])
        for _ in range(8)
    ]
    table = Table(where, every, Task(channels, 3))
    networks = [scale(where, *pair) for pair in pairs]
    expected = [
        [cost.flops(net, Task(channels, 3)), cost.parameters(net, Task(channels, 3))]
        for net in networks
    ]
    assert table.costs(table.encode(pairs)).tolist() == expected
    assert table.costs(table.encode([])).shape == (0, 2)


def test_a_table_of_a_large_space_is_small(params):
    """It lists no choices: here they are 8^30 for each of 3 expansion ratios."""
    block = {"depth": 30, "expands": (2, 3, 6), "kernels": (1, 3, 5, 7, 9, 11, 13, 15)}
    stages = (params.space.stages[0].model_copy(update=block),)
    where, by = params.space.model_copy(update={"stages": stages}), Scaling(1.1, 1.5, 13)
    table, base = Table(where, [by], Task(1, 3)), sample_base(where, np.random.default_rng(3))
    network = scale(where, base, by)
    expected = [cost.flops(network, Task(1, 3)), cost.parameters(network, Task(1, 3))]
    codes = table.encode([(base, by)])
    assert codes.size == 32 and table.costs(codes).tolist() == [expected]


@pytest.mark.parametrize("kernels", [[3, 5], [5, 7]])
def test_the_fewest_and_the_most_flops_are_those_of_every_base_model(params, kernels):
    blocks = [
        {"width": 8, "depth": 2, "stride": 2, "expands": [1, 3], "kernels": kernels},
        {"width": 12, "depth": 2, "stride": 1, "expands": [2], "kernels": [3, 5]},
    ]
    space = Space.model_validate(params.space.model_dump() | {"stages": blocks})
    task = Task(1, 10)
    table = Table(space, all_strategies(params.scaling), task)
    for strategy in all_strategies(params.scaling)[::5]:
        parts = [
            [
                BaseBlock(ks, expand)
                for expand in block["expands"]
                for layers in (1, 2)
                for ks in itertools.product(block["kernels"], repeat=layers)
            ]
            for block in blocks
        ]
        counts = [
            cost.flops(scale(space, BaseModel(base), strategy), task)
            for base in itertools.product(*parts)
        ]
        assert table.ends(strategy) == (min(counts), max(counts))


def test_costs_that_no_table_holds_are_refused(make_params):
    """They wrapped around to less than nothing."""
    block = {"width": 60000, "depth": 1000, "stride": 1, "expands": [6], "kernels": [15]}
    base = {"tolerance": 0.1, "depths": [1.0], "widths": [1.0], "resolutions": [8192]}
    over = {"space": {"stages": [block]}, "scaling": {"stages": [base] * 3}}
    params = make_params(over)
    with pytest.raises(ValueError, match=r"space: the largest .* costs 2\.9e\+21, .* lower widths"):
        Table(params.space, all_strategies(params.scaling), Task(3, 10))
