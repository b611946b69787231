"""What the layers of deployed networks take on this machine, fitted to timed passes.

A network is timed by pieces: the stem, each inverted residual, the head; one image, as it is
deployed, norms folded. A piece's time is taken for the sum of its layers' (``space.measure``), with
rates that are fitted by least squares of relative errors. How far that is off is seen on other
networks, timed whole in the same rounds. Times are the thread's own on a processor where there is
one thread: other programs stretch these less.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from math import ceil

import numpy as np
import torch
from scipy.optimize import nnls
from scipy.stats import kendalltau

from scalenet.config.params import Params
from scalenet.config.space import KINDS, Latency
from scalenet.data.images import resize
from scalenet.nets import blocks, child
from scalenet.nets.deployed import Deployed
from scalenet.space.cost import Layer, block_layers, flops, inputs, layers
from scalenet.space.measure import on
from scalenet.space.network import Network, Task
from scalenet.space.sampling import sample_base
from scalenet.space.scale import scale
from scalenet.space.scaling import strategies

FITTED, UNSEEN = 40, 30  # networks that rates are fitted to, and that they are tried on
LEAST = 5  # rounds
WARM, TIMED = 2, 4  # passes of a network in a round
ERROR, TAU = 0.10, 0.90  # of rates that may be planned by
FAST = 0.5  # share of a network's passes that count: what else runs makes some longer
Piece = tuple[Layer, ...]
Passes = Mapping[Network, Sequence[Sequence[float]]]  # seconds of each piece, of each pass


@dataclass(frozen=True)
class Trial:
    """How well rates tell what unseen networks take: the median error and Kendall's tau; how far,
    and in what order, one half of the networks' own passes is from the other; FLOPs' tau."""

    error: float
    tau: float
    noise: float
    noise_tau: float
    flops_tau: float
    milliseconds: tuple[float, float]  # of the fastest network and of the slowest

    def check(self) -> None:
        """Refuse rates that are too far off; ``ValueError`` says what to do.

        No order is asked for that the machine does not keep when the same networks are timed twice.
        """
        needed = min(TAU, self.noise_tau)
        if self.error <= ERROR and self.tau >= needed:
            return
        error = ceil(1000 * self.error) / 1000  # up: what is above the limit is not said to be it
        raise ValueError(
            f"what layers take here tells {UNSEEN} other networks' milliseconds to {error:.1%}"
            f" (median) and in order with tau {self.tau:.3f}; {ERROR:.0%} or less and {needed:.3f} "
            f"or more are needed. Timed twice, those differ by {self.noise:.1%}, tau "
            f"{self.noise_tau:.3f}: measure when nothing else runs here (`scalenet latency`, "
            "--seconds 240 for longer); if that does not help, plan by FLOPs: --max-flops in place "
            "of --max-ms"
        )


def drawn(params: Params, number: int) -> list[Network]:
    """Draw networks from all sizes in turn, each once; ``ValueError`` if the space has too few."""
    generator, sizes = np.random.default_rng(0), len(params.scaling.stages)
    found: dict[Network, None] = {}
    for turn in range(10 * number):
        offered = strategies(params.scaling, turn % sizes)
        by = offered[int(generator.integers(len(offered)))]
        found[scale(params.space, sample_base(params.space, generator), by)] = None
        if len(found) == number:
            return list(found)
    raise ValueError(
        f"space and scaling.stages make about {len(found)} different networks; {number} are timed: "
        "measure in a folder without params.yaml, networks for photographs"
    )


def pieces(network: Network, task: Task) -> list[Piece]:
    """List the layers of the stem, of each inverted residual and of the head."""
    stem, *_, last, classifier = layers(network, task)
    found: list[Piece] = [(stem,)]
    for block, w_in, px in inputs(network):
        parts = tuple(block_layers(network, block, w_in, px))
        each = len(parts) // len(block.kernels)
        found += [parts[start : start + each] for start in range(0, len(parts), each)]
    return [*found, (last, classifier)]


# --- passes ---------------------------------------------------------------------------------------


@torch.no_grad()
def measured(
    params: Params, task: Task, device: str, threads: int = 1, seconds: float = 30.0
) -> tuple[Latency, Trial]:
    """Time networks of a space here, for so long; return what their layers take, and a trial of it.

    ``device`` is the machine's name. All are timed alike: rates are fitted to the pieces of some,
    and tried on the others. ``ValueError`` if the space has too few.
    """
    torch.set_num_threads(threads)
    now = time.thread_time if threads == 1 else time.perf_counter
    networks = drawn(params, FITTED + UNSEEN)
    unseen, fitted = networks[:UNSEEN], networks[UNSEEN:]
    images = torch.rand(1, task.channels, params.data.size, params.data.size)
    passes: dict[Network, list[list[float]]] = defaultdict(list)
    for network in _rounds(networks, seconds):
        net = _built(network, task)
        for _ in range(WARM):
            net(images)
        passes[network] += [stamped(net, images, now) for _ in range(TIMED)]
    latency = fit({network: passes[network] for network in fitted}, task, device)
    return latency, tried(latency, task, {network: passes[network] for network in unseen})


def _rounds(networks: Sequence[Network], seconds: float) -> Iterator[Network]:
    """Yield networks for so long, all of them in a random order in every round."""
    generator, start = np.random.default_rng(0), time.perf_counter()
    for done in count():
        if done >= LEAST and time.perf_counter() - start >= seconds:
            return
        yield from (networks[number] for number in generator.permutation(len(networks)))


def _built(network: Network, task: Task) -> Deployed:
    """Make a network as it is deployed; it is made anew in each round: memory holds one."""
    net = child.build(network, task, torch.Generator().manual_seed(0))
    return Deployed(net, [0.5] * task.channels, [0.25] * task.channels)


def stamped(net: Deployed, images: torch.Tensor, now: Callable[[], float]) -> list[float]:
    """Return the seconds of each piece of a pass, by a clock.

    A piece ends where its last norm was, so that a skip's addition counts to the one after it.
    """
    times = [now()]

    def note(name: str, x: torch.Tensor) -> torch.Tensor:
        if name == "stem/norm" or name.endswith("project/norm"):
            times.append(now())
        return x

    views = resize((images - net.mean) / net.std, net.network.resolution)
    blocks.forward(net.network, net.weights, views, note, None)
    return np.diff([*times, now()]).tolist()


def usual(passes: Sequence[Sequence[float]]) -> np.ndarray:
    """Return the seconds of each piece: the mean of the passes that took least in all."""
    took = np.array(passes)
    fastest = np.argsort(took.sum(1))[: ceil(FAST * len(took))]
    return took[fastest].mean(0)


# --- rates ----------------------------------------------------------------------------------------


def fit(passes: Passes, task: Task, device: str) -> Latency:
    """Fit rates, none below 0, to the pieces of networks."""
    took = 1e6 * np.concatenate([usual(times) for times in passes.values()])
    counts = np.array([_counts(piece) for network in passes for piece in pieces(network, task)])
    scales = np.maximum(counts.max(0), 1.0)  # columns of like size, for the solver
    rates, _ = nnls(counts / scales / took[:, None], np.ones(len(took)))
    of_kind = (rates / scales).reshape(len(KINDS), 3) * (1.0, 1e3, 1e3)  # µs; the others in ns
    rounded = [[float(f"{rate:.5g}") for rate in row] for row in of_kind]
    return Latency(device=device, **dict(zip(KINDS, rounded, strict=True)))


def _counts(piece: Piece) -> np.ndarray:
    """Return how many layers, values and multiply-accumulates of each kind a piece has."""
    found = np.zeros((len(KINDS), 3))
    for layer in piece:
        found[KINDS.index(layer.kind)] += (1, layer.w_out * layer.px**2, layer.flops)
    return found.ravel()


def tried(latency: Latency, task: Task, passes: Passes) -> Trial:
    """Compare what rates say of networks with their seconds."""
    measure = on(latency)
    said = np.array([measure.spent(network, task) for network in passes])
    took = 1e3 * np.array([usual(times).sum() for times in passes.values()])
    one, other = ([usual(times[half::2]).sum() for times in passes.values()] for half in (0, 1))
    return Trial(
        error=float(np.median(np.abs(said / took - 1))),
        tau=float(kendalltau(said, took).statistic),
        noise=float(np.median(np.abs(np.divide(one, other) - 1))),
        noise_tau=float(kendalltau(one, other).statistic),
        flops_tau=float(kendalltau([flops(net, task) for net in passes], took).statistic),
        milliseconds=(float(took.min()), float(took.max())),
    )
