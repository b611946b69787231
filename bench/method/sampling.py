"""What each way of sampling trains: the FLOPs that it draws, and how the ends of the space do.

The histograms are of equally many draws; the super-supernets are trained with equal arithmetic (see
rank.py). Accuracies are those of shared weights on ``select``, after recalibration.
"""

from __future__ import annotations

import numpy as np

from bench.method import scripts
from bench.method.lab import Lab
from bench.method.rank import scores, variant
from scalenet.space import cost
from scalenet.space.network import Network
from scalenet.space.scale import largest, scale, smallest, uniform_base
from scalenet.space.scaling import strategies
from scalenet.training import supernet

BINS = 16


def histogram(lab: Lab) -> dict:
    """Return how often each way draws networks in a training, by FLOPs (logarithmic bins)."""
    steps = lab.params.supernet.recipe.steps
    rows = {
        way: supernet.sampled_flops(lab.params, lab.task, way, steps) for way in supernet.SAMPLINGS
    }
    ways = {way: [count for _, _, count in drawn] for way, drawn in rows.items()}
    flops = [count for counts in ways.values() for count in counts]
    edges = np.geomspace(min(flops), max(flops) * 1.0001, BINS + 1)
    return {"edges": edges.tolist()} | {
        way: np.histogram(counts, edges)[0].tolist() for way, counts in ways.items()
    }


def ends(lab: Lab) -> list[tuple[str, Network]]:
    """Return the space's smallest and largest network, and those of each size by FLOPs."""
    params, found = lab.params, {}
    found["smallest"] = smallest(params.space, params.scaling)
    for size in range(len(params.scaling.stages)):
        every = sorted(
            (
                scale(params.space, uniform_base(params.space, pick, depth), by)
                for by in strategies(params.scaling, size)
                for pick, depth in ((min, lambda _: 1), (max, lambda most: most))
            ),
            key=lambda network: cost.flops(network, lab.task),
        )
        found[f"stage {size}, smallest"], found[f"stage {size}, largest"] = every[0], every[-1]
    found["largest"] = largest(params.space, params.scaling)
    return list(found.items())


def main() -> None:
    """Train every way and score the ends."""
    chosen = scripts.options(__doc__)
    lab = scripts.open_lab(chosen)
    extremes = ends(lab)
    found = {
        way: scores(variant(lab, {"sampling": way}), [(0, n) for _, n in extremes], images=0)
        for way in supernet.SAMPLINGS
    }
    rows = [
        {"what": what, "network": str(network)} | {way: found[way][i]["accuracy"] for way in found}
        for i, (what, network) in enumerate(extremes)
    ]
    for row in rows:
        print(f"{row['what']:20}", ", ".join(f"{way} {row[way]:.2%}" for way in found))
    scripts.write(lab, chosen, "sampling", histogram=histogram(lab), ends=rows)


if __name__ == "__main__":
    main()
