"""A whole experiment, priced before any of it is computed: its commands in their order.

The pilot (pilot.py); then the family against its baselines (family.py), ours and EfficientNet's law
with more seeds and at every size, the other arms at some; then the ranked networks (rank.py), each
trained ``--truth`` times, so that the pilot's best τ with means is what they can reach. Each
command goes on where it was stopped, on another day too; what the pilot and the ranking have on
file is not priced again. Core-hours are CPU time by the speed of a few steps of random networks of
each size, measured here and now; sizes beyond the search are priced at the speed of the largest
searched one, our super-supernet and search at the slowest. A search is priced from above: as if
every base model of its generations were measured at every size, and every feasible strategy of one
base model with each choice of strategies. One-shot NAS for a size takes our super-supernet's steps
at the size's budget, and the same share more for its search.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from bench.method import pilot, prices, rank, scripts
from bench.method.cost import training_macs
from bench.method.lab import Lab
from bench.method.prices import Price, per_training
from bench.speed.common import PASSES
from scalenet.space import cost
from scalenet.space.network import Network

PROBED = 3  # random networks of a size, whose speed is that of all
RECALIBRATIONS = 1 + len(rank.CALIBRATION)  # a ranked network is scored so many times


@dataclass(frozen=True)
class Pricing:
    """A lab and how fast each of its sizes trains, in multiply-accumulates a core-second."""

    lab: Lab
    rates: list[float]

    def target(self, name: str) -> float:
        """Return the budget of a member, in FLOPs."""
        return self.lab.params.scaling.budget * self.lab.params.family[name].multiple

    def trainings(self, command: str, what: str, counts: Mapping[str, int]) -> Price:
        """Return the price of so many trainings at each size."""
        macs, seconds = 0.0, 0.0
        for name, count in counts.items():
            size = self.lab.params.scaling.searched(self.lab.params.family[name].multiple)
            own = count * per_training(self.lab, self.target(name))
            macs += own
            seconds += own / self.rates[-1 if size is None else size]
        return Price(command, what, sum(counts.values()), macs, seconds)

    def one_shot(self, name: str, share: float) -> Price:
        """Return the price of a size's own super-supernet, and of a search's share beside it."""
        recipe = self.lab.params.supernet.recipe
        size = self.lab.params.scaling.searched(self.lab.params.family[name].multiple)
        macs = share * PASSES * recipe.batch * recipe.steps * self.target(name)
        rate = self.rates[-1 if size is None else size]
        return Price("family", f"one-shot search for {name}", 0, macs, macs / rate)

    def slowest(self, command: str, what: str, macs: float) -> Price:
        """Return the price of what is no training of a member."""
        return Price(command, what, 0, macs, macs / min(self.rates))


def speeds(lab: Lab) -> list[float]:
    """Return how fast random networks of each size train, in multiply-accumulates a core-second."""
    drawn = rank.networks(lab, PROBED)
    sizes = range(len(lab.params.scaling.stages))
    return [prices.speed(lab, [network for s, network in drawn if s == size]) for size in sizes]


def search_macs(lab: Lab) -> float:
    """Return what a search takes at most, were all that it may propose measured."""
    search, recipe = lab.params.search, lab.params.supernet.recipe
    sizes = range(len(lab.params.scaling.stages))
    targets = [lab.params.scaling.target(size) for size in sizes]
    base = lab.budget.draw(np.random.default_rng(0))
    offered = sum(len(lab.budget.feasible(base, size)) * targets[size] for size in sizes)
    bred = search.iterations * search.population * search.generations * sum(targets)
    every = lab.info.counts["select"]
    scored = bred + (search.random_bases + search.iterations) * offered
    tuned = PASSES * search.finetune.steps * recipe.batch + every
    finals = search.iterations * search.finetune.share * offered
    return scored * (search.calibration + (search.images or every)) + finals * tuned


def family(pricing: Pricing, chosen: argparse.Namespace) -> list[Price]:
    """Return the prices of the family, its baselines and the searches of both."""
    lab, others = pricing.lab, chosen.others.split(",")
    family, training = lab.params.family, training_macs(lab)
    found = {name: lab.params.scaling.searched(family[name].multiple) for name in others}
    searched = [name for name, size in found.items() if size is not None]
    share = 1 + search_macs(lab) / training
    ours = dict.fromkeys(family, chosen.principal)
    law = {name: count for name, count in ours.items() if family[name].multiple > 1}
    return [
        pricing.slowest("family", "super-supernet and search", training * share),
        pricing.trainings("family", "ours", ours),
        pricing.trainings("family", "EfficientNet's law (its S0 is ours)", law),
        pricing.trainings("family", "random base", dict.fromkeys(others, chosen.seeds)),
        pricing.trainings("family", "random strategies", dict.fromkeys(searched, chosen.seeds)),
        pricing.trainings("family", "one-shot per size", dict.fromkeys(others, chosen.seeds)),
        *(pricing.one_shot(name, share) for name in others),
    ]


def ranked(
    pricing: Pricing, drawn: dict[int, list[Network]], chosen: argparse.Namespace
) -> list[Price]:
    """Return the prices of what no pilot trains of the ranked networks, and of scoring all."""
    lab, rows, flops = pricing.lab, [], 0.0
    for size, networks in drawn.items():
        left = [
            network
            for i, network in enumerate(networks)
            for seed in range(chosen.truth)
            if not (i < chosen.networks and seed < chosen.trainings)
            and not lab.on_file(network, seed)
        ]
        macs = sum(per_training(lab, cost.flops(network, lab.task)) for network in left)
        rows.append(Price("rank", f"size {size}", len(left), macs, macs / pricing.rates[size]))
        flops += sum(cost.flops(network, lab.task) for network in networks)
    search, recipe = lab.params.search, lab.params.supernet.recipe
    tuned = PASSES * search.finetune.steps * recipe.batch
    images = RECALIBRATIONS * (lab.info.counts["select"] + search.calibration) + tuned
    return [*rows, pricing.slowest("rank", "scores and fine-tuning", flops * images)]


def commands(lab: Lab, chosen: argparse.Namespace) -> list[str]:
    """Return what to type, in order; each goes on where it was stopped."""
    more = ",".join(f"{name}={chosen.principal}" for name in lab.params.family)
    options = {
        "pilot": ["--networks", str(chosen.networks), "--seeds", str(chosen.trainings),
                  "--stages", chosen.stages],
        "family": ["--seeds", str(chosen.seeds), "--more", more, "--others", chosen.others],
        "rank": ["--networks", str(chosen.ranked), "--trainings", str(chosen.truth),
                 "--stages", chosen.stages, "--variants", "default"],
    }  # fmt: skip
    changed = [word for change in chosen.set for word in ("--set", change)]
    same = ["--workers", str(chosen.workers)]
    return [
        scripts.command(name, ["--preset", chosen.preset, *changed, *own, *same])
        for name, own in options.items()
    ]


def experiment(lab: Lab, chosen: argparse.Namespace) -> list[Price]:
    """Return the prices of all commands."""
    if not set(chosen.others.split(",")) <= set(lab.params.family):
        known = ", ".join(lab.params.family)
        raise SystemExit(f"--others is {chosen.others!r}; give sizes of {known}")
    sizes = rank.sizes_of(chosen.stages, lab)
    every = rank.networks(lab, max(chosen.networks, chosen.ranked))
    drawn = {size: [network for s, network in every if s == size] for size in sizes}
    first = {size: networks[: chosen.networks] for size, networks in drawn.items()}
    pricing = Pricing(lab, speeds(lab))
    return [
        *pilot.priced(lab, first, chosen.trainings),
        *family(pricing, chosen),
        *ranked(pricing, drawn, chosen),
    ]


def main() -> None:
    """Print the commands and what they cost; compute none of them."""
    chosen = scripts.options(
        __doc__,
        networks=6,
        trainings=3,
        stages="2,3",
        ranked=24,
        truth=2,
        principal=4,
        others="S1,S3,S5",
    )
    lab = scripts.open_lab(chosen)
    prices.show(experiment(lab, chosen))
    print("\n".join(commands(lab, chosen)))


if __name__ == "__main__":
    main()
