"""What fine-tuning finalists for fewer steps loses: a search's last choice, made with each number.

    python -m bench.method.tuning --preset cifar10-cpu --steps 0,20,40,60,120 --seeds 2

A choice is of a base model's feasible strategies of a size: that with the highest score, all of
them tuned alike and scored on all of select. What it loses is said by the *reference*, the surface
of all trainings (bench/method/surface.py): the best strategy's accuracy less the chosen one's.
Bases are the found one and random ones; each seed has a super-supernet. A number of steps is held
against the largest by the same choices. The networks that `rank` trained are tuned as well:
Kendall's τ with their trainings, and what `bench.method.lean` replays a search from.
"""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np

from bench.method import scripts, statistics
from bench.method.lab import Lab
from bench.method.lean import METRICS
from bench.method.markdown import average, interval, origin, table
from bench.method.rank import finetuned, scores, taus
from bench.method.surface import fitted, known
from scalenet.laws.surface import TRAINED
from scalenet.space.network import Network
from scalenet.space.scale import scale
from scalenet.space.scaling import BaseModel

OPTIONS = {"steps": "0,20,40,60,120", "bases": 6}

Sized = list[tuple[int, Network]]  # networks with their sizes
Scores = list[dict[str, Any]]


def choices(lab: Lab, found: BaseModel, bases: int) -> list[Sized]:
    """Return what each choice is among: a base's feasible strategies of a size, if it has two."""
    generator, every = np.random.default_rng(0), {found: None}
    while len(every) < bases:
        every[lab.budget.draw_of(generator, 0)[0]] = None
    among = []
    for base, size in product(every, range(1, len(lab.params.scaling.stages))):
        options = lab.budget.feasible(base, size)
        networks = dict.fromkeys(scale(lab.params.space, base, by) for by in options)
        among.append([(size, network) for network in networks])
    return [own for own in among if len(own) > 1]


def tuned(lab: Lab, networks: Sized, steps: int, seed: int) -> Scores:
    """Score networks tuned for so many steps, from the super-supernet of a seed; 0: as they are."""
    own = lab.variant({"supernet": {"seed": seed}})  # one, however long its slices are tuned
    if not steps:
        return scores(own, networks, images=0)
    finetune = own.params.search.finetune.model_copy(update={"steps": steps})
    search = own.params.search.model_copy(update={"finetune": finetune})
    params = own.params.model_copy(update={"search": search})
    return finetuned(replace(own, params=params), networks)


def losses(worth: dict[Network, float], among: list[Sized], scored: list[Scores]) -> dict:
    """Return what each choice loses by either metric, of every seed in turn."""
    found: dict[str, list[float]] = {}
    for metric in METRICS:
        of = [{Network.parse(row["network"]): row[metric] for row in rows} for rows in scored]
        found[metric] = [
            max(worth[n] for _, n in own) - worth[max((n for _, n in own), key=by.__getitem__)]
            for by, own in product(of, among)
        ]
    return found


def main() -> None:
    """Tune every network for every number of steps; write what is lost, and the raw scores."""
    chosen = scripts.options(__doc__, **OPTIONS)
    lab = scripts.open_lab(chosen)
    folder = chosen.results / lab.params.data.name
    rank, family, extrapolation = (
        json.loads((folder / f"{n}.json").read_text()) for n in ("rank", "family", "extrapolation")
    )
    ranked = [(row["stage"], Network.parse(row["network"])) for row in rank["networks"]]
    trained = [row["trained"] for row in rank["networks"]]
    among = choices(lab, BaseModel.parse(family["members"][0]["base"]), chosen.bases)
    every = list(dict.fromkeys([*ranked, *(pair for own in among for pair in own)]))
    reference = fitted(known([rank], family, extrapolation["hidden"]["predicted"]), (TRAINED,), 99)
    networks = [network for _, network in every]
    worth = dict(zip(networks, reference.predict(networks).tolist(), strict=True))

    found: dict[str, Any] = {}
    for steps in sorted(map(int, chosen.steps.split(",")), reverse=True):
        scored = [tuned(lab, every, steps, seed) for seed in range(chosen.seeds)]
        lost = losses(worth, among, scored)
        longest = next(iter(found.values()))["lost"] if found else lost
        found[str(steps)] = {
            "lost": lost,
            "less_longest": {m: statistics.paired(lost[m], longest[m]) for m in METRICS},
            "tau": [taus(lab, ranked, trained, rows[: len(ranked)]) for rows in scored],
            "scores": [rows[: len(ranked)] for rows in scored],
        }
        print(steps, {m: f"{np.mean(lost[m]):.2%}" for m in METRICS}, flush=True)
    scripts.write(
        lab, chosen, "tuning", choices=len(among), among=sum(map(len, among)), steps=found
    )


def section(result: dict[str, Any]) -> str:
    """Write the part of docs/results.md on fine-tuning for fewer steps."""
    head = ["steps"]
    for metric in METRICS:
        head += [f"lost by {metric}", "less the longest", f"τ by {metric}"]
    return "\n".join(
        [
            f"### Steps of fine-tuning\n\n{origin(result)}",
            f"{result['choices']} choices of a super-supernet, each of a base model's feasible "
            f"strategies of a size (of {result['among']} in all), by the score after so many steps "
            "(0: shared weights) on all of select. Lost, in points: the best strategy's accuracy "
            "less the chosen one's, by the surface of all trainings; less what the most steps "
            "lose, with its 95 % interval over choices. τ is Kendall's with one training of each "
            "of `rank`'s networks, the mean over the sizes.\n",
            table(head, (row(steps, own) for steps, own in result["steps"].items())),
        ]
    )


def row(steps: str, own: dict[str, Any]) -> list[str]:
    """Write what a number of steps loses."""
    cells = [steps]
    for metric in METRICS:
        less = own["less_longest"][metric]
        cells += [
            f"{100 * np.mean(own['lost'][metric]):.2f}",
            interval(less, "+") if less["p"] is not None else "–",
            average([tau[metric]["mean"] for tau in own["tau"]]),
        ]
    return cells


if __name__ == "__main__":
    main()
