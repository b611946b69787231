"""Latency of a network, predicted from a measured table of its pieces: how far off, in what order.

A piece is the stem, an inverted residual or the head as it runs in a deployed network: norms
folded, one image, one CPU thread. Networks with one kernel, one ratio and three layers a block hold
every piece that a space makes at a width and a resolution: their passes are the table. Others,
drawn at random over all sizes, are measured whole in the same rounds and compared with the sum of
their pieces; nothing is fitted. All times are medians of the thread's own time on a processor,
which other programs stretch less than they stretch the time that passes.
"""

from __future__ import annotations

import argparse
import itertools
import math
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, cycle, islice, product
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from scipy.stats import kendalltau

from bench.speed.common import invented, options, params_of, write
from scalenet.config.params import Params
from scalenet.config.space import Space
from scalenet.nets import child, norm
from scalenet.nets.deployed import Deployed
from scalenet.space.cost import flops, inputs, output_side
from scalenet.space.network import Network
from scalenet.space.sampling import sample_base
from scalenet.space.scale import scale
from scalenet.space.scaling import BaseBlock, BaseModel, Scaling, all_strategies, strategies

Piece = tuple[int, ...]
Passes = dict[Any, list[float]]  # seconds of each pass of a piece or a network
WARM, TIMED = 2, 5  # passes of a network in a round


def pieces(network: Network) -> list[Piece]:
    """List the stem, the layers and the head of a network, each by what its time depends on.

    A piece begins where the last convolution of the one before ends, so that a skip's addition
    counts to the layer after it.
    """
    found: list[Piece] = [(network.resolution, network.stem_width)]
    for block, w_in, px in inputs(network):
        stride = block.stride
        for k in block.kernels:
            found.append((w_in, px, k, stride, block.expand, block.width))
            w_in, px, stride = block.width, output_side(px, stride), 1
    return [*found, (w_in, px, network.head_width)]


def table_networks(space: Space, offered: Sequence[Scaling]) -> list[Network]:
    """List networks that hold every piece of a space at the widths and resolutions offered."""

    def uniform(kernel: int, ratio: int) -> BaseModel:
        chosen = (
            (block.kernels[kernel % len(block.kernels)], block.expands[ratio % len(block.expands)])
            for block in space.stages
        )
        return BaseModel(tuple(BaseBlock((k,) * 3, expand) for k, expand in chosen))

    kernels = max(len(block.kernels) for block in space.stages)
    ratios = max(len(block.expands) for block in space.stages)
    bases = [uniform(*numbers) for numbers in product(range(kernels), range(ratios))]
    return [scale(space, base, strategy) for strategy, base in product(offered, bases)]


def unseen_networks(params: Params, offered: Sequence[Scaling], count: int) -> list[Network]:
    """Draw networks from the sizes in turn, at the widths and resolutions offered; each once."""
    generator, known = np.random.default_rng(0), {(s.width, s.resolution) for s in offered}
    sizes = [
        [s for s in strategies(params.scaling, size) if (s.width, s.resolution) in known]
        for size in range(len(params.scaling.stages))
    ]
    chosen = islice(cycle([size for size in sizes if size]), count)
    drawn = (size[int(generator.integers(len(size)))] for size in chosen)
    found = (scale(params.space, sample_base(params.space, generator), by) for by in drawn)
    return list(dict.fromkeys(found))


def stamped(net: Deployed, images: torch.Tensor) -> list[float]:
    """Return the seconds of each piece of a pass.

    A deployed network calls ``norm.identity`` where its norms were: here it notes the time.
    """
    times = [time.thread_time()]

    def note(name: str, x: torch.Tensor) -> torch.Tensor:
        if name == "stem/norm" or name.endswith("project/norm"):
            times.append(time.thread_time())
        return x

    with patch.object(norm, "identity", note):
        net(images)
    times.append(time.thread_time())
    return np.diff(times).tolist()


def timed(net: Deployed, images: torch.Tensor) -> tuple[float, float]:
    """Return the seconds of a pass: the thread's on a processor, and those that passed."""
    start, began = time.perf_counter(), time.thread_time()
    net(images)
    return time.thread_time() - began, time.perf_counter() - start


@torch.no_grad()
def measure(
    params: Params, table: Sequence[Network], unseen: Sequence[Network], orders: Iterable[Any]
) -> tuple[Passes, dict[Network, list[tuple[float, float]]]]:
    """Pass an image through all networks, a round for each order of them; return seconds.

    Of the table's pieces, and of the other networks as ``timed`` returns them. A network is made
    anew each round, so that memory holds one.
    """
    torch.set_num_threads(1)
    info = invented(params)
    images = torch.rand(1, info.channels, info.size, info.size)
    networks = [(network, True) for network in table] + [(network, False) for network in unseen]
    of_pieces: Passes = defaultdict(list)
    of_networks = defaultdict(list)
    for number in chain.from_iterable(orders):
        network, is_table = networks[number]
        weights = child.build(network, info.task, torch.Generator().manual_seed(0))
        net = Deployed(weights, info.mean, info.std)
        for _ in range(WARM):
            net(images)
        for _ in range(TIMED):
            if is_table:
                for piece, seconds in zip(pieces(network), stamped(net, images), strict=True):
                    of_pieces[piece].append(seconds)
            else:
                of_networks[network].append(timed(net, images))
    return of_pieces, of_networks


def rounds(count: int, least: int, seconds: float) -> Iterator[np.ndarray]:
    """Yield random orders of so many networks: at least so many, and for so long."""
    generator, start = np.random.default_rng(0), time.perf_counter()
    for done in itertools.count():
        if done >= least and time.perf_counter() - start >= seconds:
            return
        yield generator.permutation(count)


def compared(other: Sequence[float], measured: Sequence[float]) -> dict[str, float]:
    """Return how far numbers are from measured ones, as shares of these, and Kendall's tau."""
    errors = np.abs(np.asarray(other) / np.asarray(measured) - 1)
    return {
        "error": float(np.median(errors)),
        "error_p90": float(np.quantile(errors, 0.9)),
        "error_max": float(errors.max()),
        "tau": float(kendalltau(other, measured).statistic),
    }


def milliseconds(passes: Sequence[float]) -> float:
    """Return the median of passes in seconds, in milliseconds."""
    return 1000 * float(np.median(passes))


def about_networks(of_pieces: Passes, of_networks: dict, task: Any) -> list[dict[str, Any]]:
    """Describe every unseen network: FLOPs, milliseconds predicted, measured, by half, passed."""
    of_piece = {piece: milliseconds(passes) for piece, passes in of_pieces.items()}
    rows = []
    for network, passes in of_networks.items():
        on_processor, passed = zip(*passes, strict=True)
        half = len(passes) // 2
        rows.append(
            {
                "network": str(network),
                "flops": flops(network, task),
                "predicted": sum(of_piece[piece] for piece in pieces(network)),
                "measured": milliseconds(on_processor),
                "halves": [milliseconds(on_processor[:half]), milliseconds(on_processor[half:])],
                "passed": milliseconds(passed),
            }
        )
    return rows


def reach(preset: str, chosen: argparse.Namespace) -> dict[str, Any]:
    """Measure a preset's table and its unseen networks; return how well one tells the other.

    Where a pass of all of the table's networks is more than ``most`` FLOPs, every second (third …)
    width and resolution is measured, and the unseen networks are of these.
    """
    params = params_of(preset)
    task = invented(params).task
    shapes = dict.fromkeys((s.width, s.resolution) for s in all_strategies(params.scaling))
    every = [Scaling(1.0, *shape) for shape in shapes]
    whole = table_networks(params.space, every)
    offered = every[:: math.ceil(sum(flops(net, task) for net in whole) / chosen.most)]
    table = table_networks(params.space, offered)
    unseen = unseen_networks(params, offered, chosen.networks)
    orders = rounds(len(table) + len(unseen), chosen.repeats, chosen.seconds)
    rows = about_networks(*measure(params, table, unseen, orders), task)
    return {
        "pieces": len(set(chain.from_iterable(map(pieces, whole)))),
        "pieces_measured": len(set(chain.from_iterable(map(pieces, table)))),
        "shapes": len(every),
        "shapes_measured": len(offered),
        **judged(rows),
        "networks": rows,
    }


def judged(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Compare the table, FLOPs, and half of the passes with what was measured."""
    measured = [row["measured"] for row in rows]
    return {
        "table": compared([row["predicted"] for row in rows], measured),
        "flops_tau": float(kendalltau([row["flops"] for row in rows], measured).statistic),
        "halves": compared(*zip(*(row["halves"] for row in rows), strict=True)),
    }


def main() -> None:
    """Compare predicted with measured latencies, preset by preset."""
    chosen = options(
        __doc__,
        repeats=7,
        seconds=180.0,
        presets="digits,photographs,imagenet",
        networks=30,
        most=110e9,
    )
    found = {}
    for preset in chosen.presets.split(","):
        start = time.perf_counter()
        about = found[preset] = reach(preset, chosen)
        about["seconds"] = time.perf_counter() - start
        print(
            f"{preset}: {about['pieces_measured']} of {about['pieces']} pieces, "
            f"{about['seconds']:.0f} s; FLOPs: tau {about['flops_tau']:.3f}"
        )
        for what in ("table", "halves"):
            figures = (f"{key} {value:.3f}" for key, value in about[what].items())
            print(f"  {what}: {', '.join(figures)}", flush=True)
    write("latency", "cpu", presets=found, repeats=chosen.repeats, most=chosen.most)


if __name__ == "__main__":
    main()
