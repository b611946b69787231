"""What the search costs beside one-shot NAS for each size and training the grid.

Multiply-accumulates are exact: a training step counts three forward passes (forward, and twice that
backward) for every network that its seed draws, and for every candidate that is fine-tuned; scoring
counts the images that recalibrate and those that are scored. Seconds are one run's, super-supernet
and search. One-shot NAS for a size beyond the search is not run: its training's
multiply-accumulates are exact, its search's share and the seconds for each are those of the largest
size that was run. Each size's own super-supernet gets as many steps as ours has for all sizes
together: a recipe trains a network as long, however many share it. The grid is every feasible
strategy of every scaling stage for our base model, trained from scratch: FLOPs are exact, seconds
those of trainings measured at that size, with others beside them (``--workers``). What is compared
with the grid includes training the members that were searched: the grid has trained them.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from typing import Any

from bench.method import scripts
from bench.method.family import members, one_shot_lab, size_of
from bench.method.lab import Lab
from bench.speed.common import PASSES
from scalenet.config.params import Params
from scalenet.nets.elastic import SIDES
from scalenet.records.documents import FINALS, FINETUNED, Member
from scalenet.space import cost
from scalenet.space.scale import scale
from scalenet.training import supernet

MEASURED = ("supernet", "search")


def training_macs(lab: Lab) -> int:
    """Return the multiply-accumulates of training all networks that a seed draws."""
    section = lab.params.supernet
    drawn = supernet.sampled_flops(lab.params, lab.task, section.sampling, section.recipe.steps)
    batch = min(section.recipe.batch, lab.info.counts["train"])
    return PASSES * batch * sum(flops for _, _, flops in drawn)


def scoring_macs(lab: Lab) -> int:
    """Return the multiply-accumulates of a search."""
    text = (lab.paths.search / "candidates.csv").read_text().splitlines()
    rows = [(int(row["flops"]), row["phase"]) for row in csv.DictReader(text)]
    return candidates_macs(lab.params, lab.info.counts, rows)


def candidates_macs(
    params: Params, counts: Mapping[str, int], rows: Iterable[tuple[int, str]]
) -> int:
    """Return the multiply-accumulates of measuring candidates, given as (FLOPs, phase).

    Each sees the images that recalibrate and score it, finalists all of select: once for each side
    of a coupling, unless it is tuned.
    """
    search, recipe = params.search, params.supernet.recipe
    every, sides = counts["select"], len(SIDES[params.supernet.coupling])
    some = min(search.images or every, every)
    tuning = PASSES * search.finetune.steps * min(recipe.batch, counts["train"])
    total = 0
    for flops, phase in rows:
        images = search.calibration + (every if phase in FINALS else some)
        total += flops * (images + tuning if phase == FINETUNED else sides * images)
    return total


def spent(lab: Lab) -> dict[str, float]:
    """Return what a lab's super-supernet and search took."""
    seconds = lab.staged(*MEASURED).seconds()
    return {
        "macs": training_macs(lab) + scoring_macs(lab),
        "seconds": sum(seconds[stage] for stage in MEASURED),
    }


def one_shot(lab: Lab, plan: list[Member]) -> dict[str, dict]:
    """Return what each size's own search takes; the sizes beyond the search are priced, not run."""
    found: dict[str, dict] = {}
    for member in plan:
        own = one_shot_lab(lab, member.multiple)
        if size_of(lab, member) is not None:
            found[member.name] = spent(own) | {"measured": True}
            share = scoring_macs(own) / training_macs(own)
            price = found[member.name]["seconds"] / found[member.name]["macs"]
        else:
            macs = training_macs(own) * (1 + share)
            found[member.name] = {"macs": macs, "seconds": macs * price, "measured": False}
    return found


def grid(lab: Lab, plan: list[Member]) -> dict[str, Any]:
    """Return what training the found base by every feasible strategy of every size would take."""
    base, recipe, total = (
        plan[0].base,
        lab.params.retrain.recipe,
        {"macs": 0, "seconds": 0.0, "networks": 0, "ours": {"macs": 0, "seconds": 0.0}},
    )
    for member in plan:
        size = size_of(lab, member)
        if size is None:
            continue
        trained = lab.trained([(member.network, 0)])[member.network, 0]
        options = lab.budget.feasible(base, size)
        networks = dict.fromkeys(scale(lab.params.space, base, by) for by in options)
        flops = [cost.flops(network, lab.task) for network in networks]
        total["macs"] += PASSES * recipe.steps * recipe.batch * sum(flops)
        total["seconds"] += trained["seconds"] * sum(flops) / member.flops
        total["networks"] += len(flops)
        total["ours"]["macs"] += PASSES * recipe.steps * recipe.batch * member.flops
        total["ours"]["seconds"] += trained["seconds"]
    return total


def main() -> None:
    """Add up, and print the ratios."""
    chosen = scripts.options(__doc__)
    lab = scripts.open_lab(chosen)
    plan = members(lab)
    own, sizes, strategies = spent(lab), one_shot(lab, plan), grid(lab, plan)
    searched = {name: row for name, row in sizes.items() if row["measured"]}
    ratios = {}
    for what in ("macs", "seconds"):
        ratios[f"searched sizes, {what}"] = sum(row[what] for row in searched.values()) / own[what]
        ratios[f"whole family, {what}"] = sum(row[what] for row in sizes.values()) / own[what]
        ratios[f"grid of strategies, {what}"] = strategies[what] / (
            own[what] + strategies["ours"][what]
        )
    for what, ratio in ratios.items():
        print(f"{what:32} {ratio:.2f} times ours")
    scripts.write(lab, chosen, "cost", ours=own, one_shot=sizes, grid=strategies, ratios=ratios)


if __name__ == "__main__":
    main()
