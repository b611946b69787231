"""The family against what a practitioner would do instead, at equal cost.

FLOPs are equal within 1 % (see match.py), recipe and seeds are the same.

- ``ours``: searched base, searched strategies, and the law's beyond the search.
- ``EfficientNet's law``: the same base, scaled by (1.2, 1.1, 1.15) per doubling.
- ``random base``: a random feasible base for each seed, the searched strategies.
- ``random strategies``: the searched base, random feasible strategies for each seed.
- ``one-shot per size``: a super-supernet and a search for each size, in the space that
  EfficientNet's law widens, deepens and sharpens for it: what NAS costs without a scaling
  strategy.

``--more S1=12,S2=8`` trains ours and EfficientNet's law with so many seeds at these sizes, all else
with ``--seeds``. ``--others S1,S3`` has the other arms at these sizes only, ``none`` nowhere, by
default at those that were searched; beyond the search nothing offers random strategies.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from bench.method import scripts, statistics
from bench.method.lab import Lab
from bench.method.match import equal_cost
from scalenet.config.space import Space
from scalenet.laws.plan import EFFICIENTNET
from scalenet.records.documents import Member
from scalenet.space import cost
from scalenet.space.budget import Budget
from scalenet.space.network import Network
from scalenet.space.scale import ceil, scale_width
from scalenet.space.scaling import Scaling, strategies

Arm = Callable[
    [Lab, Member, int], Network | None
]  # (lab, our member, seed) -> network; None where an arm has no such size


def members(lab: Lab, sizes: str = "") -> list[Member]:
    """Return our family's plan, smallest first; of it ``sizes`` (S0,S1) if some are named."""
    lab.staged("supernet", "search", "extrapolate")
    wanted = sizes.split(",") if sizes else list(lab.params.family)
    plan = [Member.read(lab.paths.plan / f"{name}.json") for name in wanted]
    return sorted(plan, key=lambda member: member.multiple)


def size_of(lab: Lab, member: Member) -> int | None:
    """Return the size that a member was searched as, or None beyond the search."""
    return lab.params.scaling.searched(member.multiple)


def ours(lab: Lab, member: Member, seed: int) -> Network:
    """Return our own network."""
    return member.network


def law(lab: Lab, multiple: float) -> Scaling:
    """Return the strategy of EfficientNet's law for a budget (Tan & Le 2019, eq. 3)."""
    phi, start = math.log2(multiple), strategies(lab.params.scaling, 0)[0].resolution
    depth, width, resolution = (
        EFFICIENTNET[name] ** phi for name in ("depth", "width", "resolution")
    )
    return Scaling(round(depth, 3), round(width, 3), round(start * resolution))


def efficientnet(lab: Lab, member: Member, seed: int) -> Network:
    """Scale our base by EfficientNet's law."""
    if member.multiple == 1:
        return member.network
    by = law(lab, member.multiple)
    return equal_cost(lab, lab.params.space, member.base, by, member.flops)


def random_base(lab: Lab, member: Member, seed: int) -> Network:
    """Scale a random base, feasible under all searched strategies, by ours of this size."""
    scaling = lab.params.scaling
    patient = scaling.model_copy(update={"tries": 20 * scaling.tries})
    budget = Budget(lab.params.space, patient, lab.task)
    base = budget.draw(np.random.default_rng([1, seed]), lab.found.strategies)
    return equal_cost(lab, lab.params.space, base, member.scaling, member.flops)


def random_strategies(lab: Lab, member: Member, seed: int) -> Network | None:
    """Scale our base by random feasible strategies."""
    size, base = size_of(lab, member), member.base
    if size is None or size == 0:
        return None if size is None else member.network
    options = lab.budget.feasible(base, size)
    by = options[int(np.random.default_rng([2, seed, size]).integers(len(options)))]
    return equal_cost(lab, lab.params.space, base, by, member.flops)


def widened(space: Space, by: Scaling) -> Space:
    """Return the space whose base models are as wide and deep as a strategy would make them."""
    content = space.model_dump()
    content["stem"]["width"] = scale_width(space, space.stem.width, by.width)
    for stage in content["stages"]:
        stage["width"] = scale_width(space, stage["width"], by.width)
        stage["depth"] = ceil(stage["depth"] * by.depth)
    return Space.model_validate(content)


def one_shot_lab(lab: Lab, multiple: float) -> Lab:
    """Return the lab of one size's own super-supernet and search."""
    by, first = law(lab, multiple), lab.params.scaling.stages[0]
    stage = {
        "tolerance": first.tolerance,
        "depths": [1.0],
        "widths": [1.0],
        "resolutions": [by.resolution],
    }
    return lab.variant(
        {
            "space": widened(lab.params.space, by).model_dump(mode="json"),
            "scaling": {"budget": lab.params.scaling.budget * multiple, "stages": [stage]},
            "family": {"S0": {"multiple": 1, "seed": 0}},
            "supernet": {"stage_weights": None},
            "search": {
                "stage_weights": [1.0],
                "finetune": {"steps": 0},
            },  # with one strategy there is none to choose
        }
    )


def one_shot(lab: Lab, member: Member, seed: int) -> Network:
    """Search this size alone."""
    own = one_shot_lab(lab, member.multiple).staged("supernet", "search")
    by = Scaling(1.0, 1.0, own.params.scaling.stages[0].resolutions[0])
    return equal_cost(own, own.params.space, own.found.base, by, member.flops)


ARMS: dict[str, Arm] = {
    "ours": ours,
    "EfficientNet's law": efficientnet,
    "random base": random_base,
    "random strategies": random_strategies,
    "one-shot per size": one_shot,
}
PRINCIPAL = ("ours", "EfficientNet's law")  # the comparison that --more is for
OPTIONS = {"sizes": "", "more": "", "others": ""}  # the script's own, and their defaults


def seeds_of(text: str, sizes: list[str]) -> dict[str, int]:
    """Read ``--more``: trainings by size."""
    found = re.findall(r"(\w+)=(\d+)(?:,|$)", text)
    if ",".join(f"{size}={count}" for size, count in found) != text or not {
        size for size, _ in found
    } <= set(sizes):
        raise SystemExit(
            f"--more is {text!r}; give a number of seeds for sizes of {', '.join(sizes)}: "
            "S1=12,S2=8"
        )
    return {size: int(count) for size, count in found}


def others_of(text: str, lab: Lab, plan: list[Member]) -> set[str]:
    """Read ``--others``: the sizes of the arms but ours and EfficientNet's law."""
    known = [member.name for member in plan]
    if not text:
        return {member.name for member in plan if size_of(lab, member) is not None}
    if text == "none":
        return set()
    if not set(text.split(",")) <= set(known):
        raise SystemExit(
            f"--others is {text!r}; give none, or sizes of {', '.join(known)}: {known[-1]}"
        )
    return set(text.split(","))


def trained_at(arm: str, size: str, seeds: int, more: dict[str, int], others: set[str]) -> int:
    """Return with how many seeds an arm is trained at a size."""
    if arm in PRINCIPAL:
        return max(seeds, more.get(size, 0))
    return seeds if size in others else 0


def compared(
    lab: Lab, plan: list[Member], seeds: int, more: dict[str, int], others: set[str]
) -> dict[str, dict[str, Any]]:
    """Train every arm's networks; return rows by arm and size, of the arms that are trained.

    A row has networks, FLOPs, accuracies and their mean; bench/method/noise.py compares arms.
    """
    chosen = {
        (arm, member.name): [network_of(lab, member, seed) for seed in range(count)]
        for arm, network_of in ARMS.items()
        for member in plan
        if (count := trained_at(arm, member.name, seeds, more, others))
    }
    chosen = {key: networks for key, networks in chosen.items() if None not in networks}
    outcome = lab.trained(
        (network, seed) for networks in chosen.values() for seed, network in enumerate(networks)
    )
    rows: dict[str, dict[str, Any]] = {arm: {} for arm in ARMS}
    for (arm, size), networks in chosen.items():
        accuracies = [outcome[network, seed]["accuracy"] for seed, network in enumerate(networks)]
        rows[arm][size] = {
            "networks": [str(network) for network in networks],
            "flops": [cost.flops(network, lab.task) for network in networks],
            "accuracies": accuracies,
            **statistics.mean(accuracies),
        }
    return {arm: sizes for arm, sizes in rows.items() if sizes}


def main() -> None:
    """Search, plan, train and compare."""
    chosen = scripts.options(__doc__, **OPTIONS)
    lab = scripts.open_lab(chosen)
    plan = members(lab, chosen.sizes)
    more = seeds_of(chosen.more, [member.name for member in plan])
    rows = compared(lab, plan, chosen.seeds, more, others_of(chosen.others, lab, plan))
    for arm, sizes in rows.items():
        print(f"{arm:20}", "  ".join(f"{size} {row['mean']:.2%}" for size, row in sizes.items()))
    scripts.write(
        lab, chosen, "family", seeds=chosen.seeds, members=[m.plain() for m in plan], arms=rows
    )


if __name__ == "__main__":
    main()
