"""What the noise of trainings leaves to be seen, from family.json, pilot.json and rank.json.

One variance of trainings is pooled over all networks that were trained more than once, whatever
arm or size they belong to; differences are tested with it, and what a rank correlation can be at
best follows from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import stats
from sklearn.model_selection import KFold

from bench.method import statistics
from scalenet.search.surrogate import Surrogate
from scalenet.space import cost
from scalenet.space.network import Network, Task

Result = dict[str, Any]
FOLDS = 10  # of the surrogate's cross-validation
CIFAR10 = Task(3, 10)  # of results that do not say their task
RANDOM = ("random base", "random strategies")  # arms that draw what a seed is trained as
FEWEST = 3  # seeds of such an arm whose mean has an interval


def of_trainings(family: Result | None, *more: Result | None) -> dict[str, Any] | None:
    """Return the pooled noise of one network's trainings (`statistics.pooled`), as a share of 1.

    ``more`` are a pilot and a ranking. A network that two arms or two of them share counts once.
    ``sizes`` has each size's own, and ``equal`` the p-value of their being equal (Bartlett's test;
    None with one size). None if each network was trained once.
    """
    sizes: dict[str, list[list[float]]] = {}
    for size, accuracies in _trainings(family, more).values():
        if len(accuracies) > 1:
            sizes.setdefault(size, []).append(accuracies)
    if not sizes:
        return None
    own = {size: statistics.pooled(groups) for size, groups in sorted(sizes.items())}
    every = statistics.pooled([group for groups in sizes.values() for group in groups])
    return every | {"sizes": own, "equal": statistics.bartlett(list(own.values()))}


def _trainings(
    family: Result | None, more: Sequence[Result | None]
) -> dict[str, tuple[str, list[float]]]:
    """Return each network's size, such as S2, and the accuracies that most trainings of it gave."""
    arms = family["arms"].values() if family else ()
    known = [(size, row["networks"], row["accuracies"]) for arm in arms
             for size, row in arm.items()]  # fmt: skip
    known += [(f"S{row['stage']}", [row["network"]], row.get("accuracies", []))
              for result in more if result for row in result["networks"]]  # fmt: skip
    found: dict[str, tuple[str, list[float]]] = {}
    for size, networks, accuracies in known:
        name, *others = dict.fromkeys(networks)
        if not others and len(accuracies) > len(found.get(name, ("", []))[1]):
            found[name] = size, accuracies
    return found


def differences(
    family: Result, noise: dict[str, float]
) -> dict[str, dict[str, dict[str, float] | None]]:
    """Return ours less each baseline, by arm and size; None where both are one network.

    ``p`` is corrected by Holm over every comparison of the table. In a random arm the spread of its
    networks, pooled over the arm's sizes, takes the place of the noise; a size is left out where
    that is not known, as with one seed. A seed's draws may depend on one another (a random base is
    the same at every size), so the spread has no more degrees of freedom than seeds less one.
    """
    arms = family["arms"]
    found: dict[str, dict[str, Any]] = {}
    for arm, rows in arms.items():
        for size, row in rows.items() if arm != "ours" else ():
            ours = arms["ours"][size]
            if set(row["networks"]) == set(ours["networks"]):
                found.setdefault(arm, {})[size] = None
                continue
            theirs = _spread(rows) if arm in RANDOM else noise
            if theirs:
                given = ours["accuracies"], row["accuracies"]
                found.setdefault(arm, {})[size] = statistics.difference(*given, noise, theirs)
    tests = [row for rows in found.values() for row in rows.values() if row]
    corrected = statistics.holm([row["p"] for row in tests])
    for row, p in zip(tests, corrected, strict=True):
        row["p"] = p
    return found


def _spread(rows: dict[str, Result]) -> dict[str, float] | None:
    """Return the standard deviation over seeds of a random arm; None if no two networks differ."""
    drawn = [row["accuracies"] for row in rows.values() if len(set(row["networks"])) > 1]
    if not drawn:
        return None
    return statistics.pooled(drawn) | {"dof": max(map(len, drawn)) - 1}


def baselines(rank: Result) -> dict[str, list[float]]:
    """Return what ranks the networks of rank.json without any weights.

    That is their FLOPs alone, and the project's surrogate, given the trained accuracies of the
    other nine tenths of the networks.
    """
    task = Task(*rank["task"]) if "task" in rank else CIFAR10
    networks = [Network.parse(row["network"]) for row in rank["networks"]]
    trained = np.array([row["trained"] for row in rank["networks"]])
    pairs = [(network, cost.flops(network, task)) for network in networks]
    guesses = np.empty(len(pairs))
    folds = KFold(min(FOLDS, len(pairs)), shuffle=True, random_state=0)
    for known, hidden in folds.split(pairs):
        fitted = Surrogate.fit([pairs[i] for i in known], trained[known].tolist())
        guesses[hidden] = fitted.predict([pairs[i] for i in hidden])
    return {
        "FLOPs alone": [float(flops) for _, flops in pairs],
        "surrogate of trained networks": guesses.tolist(),
    }


def taus(rank: Result, scores: Sequence[float]) -> dict[str, dict[str, Any]]:
    """Return Kendall's τ between scores and trained accuracy by stage, and over all networks."""
    stages = [str(row["stage"]) for row in rank["networks"]]
    trained = [row["trained"] for row in rank["networks"]]
    groups = {name: [i for i, s in enumerate(stages) if s == name] for name in sorted(set(stages))}
    groups |= {"all": list(range(len(stages)))}
    return {
        name: statistics.kendall([scores[i] for i in own], [trained[i] for i in own], draws=500)
        for name, own in groups.items()
    }


def ceilings(rank: Result, noise: dict[str, float]) -> dict[str, dict[str, float] | None]:
    """Return the spread of the ranked networks and the τ of a perfect score, by stage and over
    all networks; both of means, if each was trained several times. None for a network alone."""
    noise = noise | {"noise": noise["noise"] / float(np.sqrt(rank.get("trainings", 1)))}
    trained = [row["trained"] for row in rank["networks"]]
    stages = [str(row["stage"]) for row in rank["networks"]]
    groups = {
        name: [t for t, s in zip(trained, stages, strict=True) if s == name]
        for name in sorted(set(stages))
    }
    every = groups | {"all": trained}
    return {name: statistics.ceiling(own, noise) for name, own in every.items()}


def mean_over_sizes(
    family: Result, arm: str, rows: dict[str, dict[str, float] | None], noise: dict[str, float]
) -> dict[str, float] | None:
    """Return ours less an arm on average over the sizes where they differ, with its interval.

    ``rows`` are the arm's of `differences`. Trainings' errors at different sizes are independent; a
    random arm's are not, so its means over the sizes, one a seed, are what is compared; of two
    seeds their spread is a matter of chance, and there is no interval.
    """
    own, sizes = family["arms"][arm], [size for size, row in rows.items() if row]
    if not sizes:
        return None
    ours = [family["arms"]["ours"][size]["accuracies"] for size in sizes]
    theirs = [own[size]["accuracies"] for size in sizes]
    variance = _of_mean(ours, noise["noise"])
    middle = float(np.mean([row["mean"] for row in map(rows.get, sizes)]))
    if arm in RANDOM:
        by_seed = np.mean(theirs, axis=0)
        if len(by_seed) < FEWEST:
            return {"mean": middle, "low": None, "high": None}
        own_part = float(np.var(by_seed, ddof=1)) / len(by_seed), len(by_seed) - 1
        parts = [(variance, noise["dof"]), own_part]
    else:
        parts = [(variance + _of_mean(theirs, noise["noise"]), noise["dof"])]
    error, dof = statistics.combined(parts)
    half = error * float(stats.t.ppf((1 + statistics.CONFIDENCE) / 2, dof))
    return {"mean": middle, "low": middle - half, "high": middle + half}


def _of_mean(accuracies: list[list[float]], noise: float) -> float:
    """Return the variance of the mean over sizes of means over trainings."""
    return sum(noise**2 / len(own) for own in accuracies) / len(accuracies) ** 2
