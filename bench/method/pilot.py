"""Can an experiment tell networks of one budget apart? A pilot, before hours are spent on it.

Prints what it costs, then trains random networks of some sizes several times each, and says what
trainings differ by, what networks do, and the Kendall τ that a perfect score would reach: with one
training a network, and with means of several. The networks are the first of those that
`bench.method.rank` ranks, and their first trainings are the same. Stopped, it goes on where it was;
its result is written after every size.
"""

from __future__ import annotations

from typing import Any

from bench.method import prices, rank, scripts, statistics
from bench.method.lab import Lab
from bench.method.markdown import origin, table
from scalenet.space import cost
from scalenet.space.network import Network

OPTIONS = {"networks": 6, "stages": "2,3", "priced": False}  # the script's own, and their defaults


def priced(lab: Lab, drawn: dict[int, list[Network]], seeds: int) -> list[prices.Price]:
    """Return what is left to train of each size, and its price."""
    rows = []
    for size, networks in drawn.items():
        left = [n for n in networks for seed in range(seeds) if not lab.on_file(n, seed)]
        macs = sum(prices.per_training(lab, cost.flops(n, lab.task)) for n in left)
        rate = prices.speed(lab, networks) if left else 1.0
        rows.append(prices.Price("pilot", f"size {size}", len(left), macs, macs / rate))
    return rows


def trained(lab: Lab, size: int, networks: list[Network], seeds: int) -> list[dict[str, Any]]:
    """Train the networks of a size with each seed; return their accuracies."""
    jobs = [(network, seed) for network in networks for seed in range(seeds)]
    outcome = lab.trained(jobs)
    return [
        {
            "stage": size,
            "network": str(network),
            "flops": cost.flops(network, lab.task),
            "accuracies": [outcome[network, seed]["accuracy"] for seed in range(seeds)],
            "seconds": [outcome[network, seed]["seconds"] for seed in range(seeds)],
        }
        for network in networks
    ]


def found(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any] | None]:
    """Return noise, spread and the best τ of each size, and of all sizes pooled.

    None of a network alone.
    """
    sizes = sorted({row["stage"] for row in rows})
    groups = {str(size): [row for row in rows if row["stage"] == size] for size in sizes}
    if len(sizes) > 1:
        groups["pooled"] = rows
    return {
        name: statistics.repeated([row["accuracies"] for row in own], [row["stage"] for row in own])
        for name, own in groups.items()
    }


def refuse_too_few(networks: int, seeds: int) -> None:
    """Refuse what has no spread or no noise, before anything is trained."""
    for name, given in (("networks", networks), ("seeds", seeds)):
        if given < 2:
            raise SystemExit(f"--{name} is {given}; give at least 2: one does not tell a spread")


def main() -> None:
    """Print the plan, train size by size, and say what was found."""
    chosen = scripts.options(__doc__, **OPTIONS)
    lab = scripts.open_lab(chosen)
    refuse_too_few(chosen.networks, chosen.seeds)
    sizes = rank.sizes_of(chosen.stages, lab)
    every = rank.networks(lab, chosen.networks)
    drawn = {size: [network for s, network in every if s == size] for size in sizes}
    prices.show(priced(lab, drawn, chosen.seeds))
    if chosen.priced:
        return
    rows: list[dict[str, Any]] = []
    for size, networks in drawn.items():
        rows += trained(lab, size, networks, chosen.seeds)
        result = found(rows)
        show(result)
        scripts.write(lab, chosen, "pilot", seeds=chosen.seeds, networks=rows, found=result)


def show(result: dict[str, dict[str, Any] | None]) -> None:
    """Print the table of what was found."""
    print(summary(result), flush=True)


def summary(result: dict[str, dict[str, Any] | None]) -> str:
    """Return the table of what was found, a row for each size."""
    counts = next((list(own["best"]) for own in result.values() if own), ["1"])
    head = ["stage", "trainings", "noise, points", "true spread, points"]
    means = [f"best τ, means of {count}" for count in counts[1:]]
    heads = [*head, "best τ, one training", *means]
    nothing = ["–"] * (len(heads) - 1)
    rows = [row(name, own) if own else [name, *nothing] for name, own in result.items()]
    return table(heads, rows)


def row(name: str, own: dict[str, Any]) -> list[str]:
    """Write what was found of a size."""
    noise = own["noise"]
    middle, low, high = (f"{100 * noise[key]:.2f}" for key in ("noise", "low", "high"))
    return [
        name,
        f"{own['networks']} networks × {own['trainings']}",
        f"{middle} [{low}, {high}]",
        f"{100 * own['true']:.2f}",
        *(
            f"{tau['tau']:.2f} [{tau['low']:.2f}, {tau['high']:.2f}]"
            for tau in own["best"].values()
        ),
    ]


def section(result: dict[str, Any]) -> str:
    """Write the part of docs/results.md on a pilot."""
    seconds = sum(sum(row["seconds"]) for row in result["networks"])
    return "\n".join(
        [
            f"### A pilot: what can be told\n\n{origin(result)}",
            "Random networks of one budget, each trained with several seeds. One-way analysis of "
            "variance: what trainings of a network differ by, and networks without that (standard "
            "deviations). The best τ is Kendall's of a perfect score, with one training a network "
            "and with means of several; intervals are exact for normal accuracies. `pooled` "
            "compares networks of one stage only, too. "
            f"Trainings took {seconds / 3600:.1f} hours of the clock, beside other programs.\n",
            summary(result["found"]),
            table(
                ["stage", "network", "FLOPs, M", "top-1 by seed, %"],
                [
                    [str(r["stage"]), f"`{r['network']}`", f"{r['flops'] / 1e6:.2f}",
                     ", ".join(f"{100 * accuracy:.2f}" for accuracy in r["accuracies"])]
                    for r in result["networks"]
                ],
            ),
        ]
    )  # fmt: skip


if __name__ == "__main__":
    main()
