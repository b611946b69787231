"""Whether the laws hold: a hidden size predicted, and the accuracy beyond the search.

The last searched stage is hidden from the laws (not from the search of the base model); those of
the others plan a network for its budget. It, and the network that was searched there, are trained
with the same seeds at equal FLOPs, and so are strategies that ``--also`` names, as `surface` does:
d1-w1.4-r32,d2-w1-r16. The accuracy law is fitted to the searched sizes' first seed; its predictions
are held against what each size reaches.
"""

from __future__ import annotations

from dataclasses import asdict
from statistics import fmean

import numpy as np

from bench.method import scripts, statistics
from bench.method.family import members, size_of
from bench.method.lab import Lab
from bench.method.match import equal_cost
from scalenet.laws import plan as laws
from scalenet.laws.accuracy import Point, fit_accuracy
from scalenet.records.documents import Member
from scalenet.space.network import Network
from scalenet.space.scaling import Scaling


def hidden(lab: Lab, plan: list[Member], seeds: int, also: list[Scaling]) -> dict | None:
    """Predict the last searched size from the others and train both at equal FLOPs, ``also``
    beside them.

    None with fewer than 4 sizes.
    """
    strategies = lab.found.strategies
    if len(strategies) < 4:
        return None
    last = next((member for member in plan if size_of(lab, member) == len(strategies) - 1), None)
    if last is None:
        raise SystemExit(
            "--sizes leaves out the last searched size, which is the one to hide; name it too"
        )
    fitted = laws.fit_laws(lab.params, strategies[:-1])
    by = laws.move(lab.params, lab.task, last.base, fitted, last.multiple)
    chosen = [by, *also]
    networks = [equal_cost(lab, lab.params.space, last.base, one, last.flops) for one in chosen]
    outcome = lab.trained(
        (name, seed) for seed in range(seeds) for name in (last.network, *networks)
    )
    searched, predicted, *others = (
        described(network, one, [outcome[network, seed]["accuracy"] for seed in range(seeds)])
        for network, one in zip((last.network, *networks), (last.scaling, *chosen), strict=True)
    )
    found = {"intervals": laws.hidden(lab.params, strategies)}
    return found | {"searched": searched, "predicted": predicted, "also": others}


def described(network: Network, by: Scaling, accuracies: list[float]) -> dict:
    """Return what the results say of a trained network."""
    return {"network": str(network), "scaling": str(by), "accuracies": accuracies}


def accuracy(lab: Lab, plan: list[Member], seeds: int) -> list[dict]:
    """Hold the accuracy law of the searched sizes against what the others reach."""
    outcome = lab.trained((member.network, seed) for member in plan for seed in range(seeds))
    section, rows = lab.params.publish, []
    points = [
        Point(
            member.flops,
            outcome[member.network, 0]["correct"],
            outcome[member.network, 0]["tested"],
        )
        for member in plan
        if size_of(lab, member) is not None
    ]
    generator = np.random.default_rng(section.seed)
    law = fit_accuracy(points, section.prior, section.confidence, section.draws, generator)
    for member in plan:
        reached = statistics.mean(
            [outcome[member.network, seed]["accuracy"] for seed in range(seeds)]
        )
        at = asdict(law.predict(member.flops))
        inside = at["low"] <= reached["mean"] <= at["high"]
        beyond = size_of(lab, member) is None
        rows.append(
            {
                "member": member.name,
                "beyond": beyond,
                "predicted": at,
                "reached": reached,
                "inside": inside,
            }
        )
    return rows


def main() -> None:
    """Hide and predict."""
    chosen = scripts.options(__doc__, sizes="", also="")
    try:
        also = [Scaling.parse(text) for text in chosen.also.split(",") if text]
    except ValueError as error:
        raise SystemExit(f"--also: {error}") from error
    lab = scripts.open_lab(chosen)
    plan = members(lab, chosen.sizes)
    stage, rows = hidden(lab, plan, chosen.seeds, also), accuracy(lab, plan, chosen.seeds)
    if stage:
        print(f"hidden stage: searched {stage['searched']['scaling']}")
        searched = fmean(stage["searched"]["accuracies"])
        for name, row in (("predicted", stage["predicted"]), *(("also", r) for r in stage["also"])):
            print(f"{name} {row['scaling']} ({fmean(row['accuracies']) - searched:+.2%})")
    for row in rows:
        law, reached = row["predicted"]["value"], row["reached"]["mean"]
        print(f"{row['member']}: law {law:.2%}, reached {reached:.2%}, inside {row['inside']}")
    scripts.write(lab, chosen, "extrapolation", seeds=chosen.seeds, hidden=stage, accuracy=rows)


if __name__ == "__main__":
    main()
