"""The table of latencies: it holds what a search can make, and each time belongs to its piece."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bench.speed import latency
from bench.speed.common import params_of
from scalenet.nets import child
from scalenet.nets.deployed import Deployed
from scalenet.space.network import Network, Task
from scalenet.space.sampling import sample_base
from scalenet.space.scale import scale
from scalenet.space.scaling import Scaling, all_strategies

HEAVY = "r64-stem_k3_s1_c16-ir_k3.3.3_s1_e1_c16-ir_k5_s1_e6_c64-ir_k3_s2_e1_c8-head_c8-se0e-relu"


def deployed(text: str) -> Deployed:
    net = child.build(Network.parse(text), Task(1, 3), torch.Generator().manual_seed(0))
    return Deployed(net, [0.5], [0.25])


@pytest.mark.parametrize("preset", ["digits", "photographs", "imagenet"])
def test_the_table_holds_every_piece_of_random_networks(preset):
    params, generator = params_of(preset), np.random.default_rng(3)
    offered = all_strategies(params.scaling)
    shapes = {Scaling(1.0, s.width, s.resolution) for s in offered}
    networks = latency.table_networks(params.space, sorted(shapes, key=str))
    table = {piece for network in networks for piece in latency.pieces(network)}
    for i in generator.integers(len(offered), size=100):
        network = scale(params.space, sample_base(params.space, generator), offered[i])
        assert table >= set(latency.pieces(network)), network


def test_every_expansion_ratio_and_kernel_of_a_block_is_in_the_table():
    params = params_of("digits")
    block = params.space.stages[-1].model_copy(update={"expands": (2, 3, 6), "kernels": (3, 7)})
    space = params.space.model_copy(update={"stages": (*params.space.stages[:-1], block)})
    networks = latency.table_networks(space, [Scaling(1.0, 1.0, 8)])
    last = {(network.blocks[-1].expand, network.blocks[-1].kernels[0]) for network in networks}
    assert last == {(expand, k) for expand in (2, 3, 6) for k in (3, 7)}


def test_a_pieces_time_is_its_own():
    net, images = deployed(HEAVY), torch.rand(1, 1, 64, 64)
    with torch.no_grad():
        rounds = [latency.stamped(net, images) for _ in range(9)]
    pieces = latency.pieces(net.network)
    assert all(len(seconds) == len(pieces) == 7 for seconds in rounds)
    heavy = (16, 64, 5, 1, 6, 64)
    assert pieces[int(np.argmax(np.median(rounds, axis=0)))] == heavy


def test_a_prediction_adds_up_the_pieces():
    net = deployed(HEAVY).network
    of_pieces = {piece: [0.001, 0.001, 0.5] for piece in latency.pieces(net)}
    [row] = latency.about_networks(of_pieces, {net: [(0.006, 0.02), (0.008, 0.04)]}, Task(1, 3))
    assert row["predicted"] == pytest.approx(7)  # three pieces are alike, and count each
    assert (row["measured"], row["passed"]) == pytest.approx((7, 30))
    assert row["halves"] == pytest.approx([6, 8])


def test_errors_are_shares_of_what_was_measured():
    found = latency.compared([11, 20, 33], [10, 20, 30])
    assert (found["error"], found["error_max"], found["tau"]) == pytest.approx((0.1, 0.1, 1))
