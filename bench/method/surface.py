"""Whether a surface of accuracy says what a size that it has not seen wants: no training at all.

    python -m bench.method.surface [--preset NAME] [--more NAME,...] [--tables DIR]

It reads what `family`, `rank` and `extrapolation` have trained and scored (bench/method/results),
and with ``--more`` what `rank` has under other names: the sizes that it was run for alone.
The last searched size is hidden: a surface fitted to the networks of smaller sizes chooses a
strategy for the found base at its budget, and among random networks of that size. What its choices
are worth is said by trainings and, where none was made, by the *reference*: the surface fitted to
every training of every size. Networks may be known to it by training, by fine-tuning and shared
weights, or by shared weights alone: what a search has.

Other regressions are tried on the same networks: the error for the next size (the second hidden,
of the smallest two), by ten-fold cross-validation, and, with ``--tables``, for the larger half of
a public grid of MobileNetV1s. The priors of `scalenet.laws.surface` were chosen by these, none of
which saw the last searched size.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from bench.method import regressions, scripts
from bench.method.noise import CIFAR10
from bench.speed.common import about
from scalenet.config.params import Params
from scalenet.laws import plan
from scalenet.laws import surface as surfaces
from scalenet.laws.advice import Advice, advise
from scalenet.laws.affordable import affordable
from scalenet.laws.surface import SHARED, TRAINED, TUNED, Evaluation, Surface
from scalenet.records import files
from scalenet.space.cost import flops
from scalenet.space.network import Network
from scalenet.space.scale import scale
from scalenet.space.scaling import BaseModel, Scaling

DRAWS = 400
KNOWN = {  # how the networks of smaller sizes are known to a surface
    "trained networks": (TRAINED,),
    "fine-tuned and shared scores": (TUNED, SHARED),
    "shared scores": (SHARED,),
}
AMONG, SUBSETS, RESAMPLED = 5, 400, 200  # networks to choose from, such choices, bootstraps
SIDE = 32  # px that the images of the CIFAR presets have


@dataclass
class Known:
    """What is known of a network: its size, its trainings, its scores."""

    network: Network
    size: int
    trained: list[float] = field(default_factory=list)
    scores: dict[str, float] = field(default_factory=dict)

    def evaluations(self, ways: Sequence[str]) -> list[Evaluation]:
        """Return what a surface is told of it in some ways."""
        found = [Evaluation(self.network, a, TRAINED) for a in self.trained if TRAINED in ways]
        return found + [
            Evaluation(self.network, s, way) for way, s in self.scores.items() if way in ways
        ]


def known(
    ranks: Sequence[dict[str, Any]], family: dict[str, Any], hidden: dict[str, Any]
) -> list[Known]:
    """Gather every network that the benchmarks have trained; one that arms share counts once."""
    found: dict[str, Known] = {}

    def of(text: str, size: int) -> Known:
        return found.setdefault(text, Known(Network.parse(text), size))

    for rank in ranks:
        for i, row in enumerate(rank["networks"]):
            one = of(row["network"], row["stage"])
            one.trained += row.get("accuracies", [row["trained"]])
            for way, name in ((SHARED, "default"), (TUNED, "fine-tuned")):
                one.scores[way] = rank["scores"][name][i]["accuracy"]
    sizes = {member["name"]: round(np.log2(member["multiple"])) for member in family["members"]}
    of_arms: dict[str, list[float]] = {}
    for rows in family["arms"].values():
        for size, row in rows.items():
            trained: dict[str, list[float]] = {}
            for text, accuracy in zip(row["networks"], row["accuracies"], strict=True):
                of(text, sizes[size])
                trained.setdefault(text, []).append(accuracy)
            for text, reached in trained.items():
                of_arms[text] = max(of_arms.get(text, []), reached, key=len)
    for text, reached in of_arms.items():
        found[text].trained += reached
    last = max(row["stage"] for rank in ranks for row in rank["networks"])
    of(hidden["network"], last).trained += hidden["accuracies"]
    return list(found.values())


def fitted(rows: Sequence[Known], ways: Sequence[str], below: int) -> Surface:
    """Fit a surface to the networks of the sizes below one, known in some ways."""
    told = [e for row in rows if row.size < below for e in row.evaluations(ways)]
    return surfaces.fit(told, SIDE, DRAWS, np.random.default_rng(0))


# --- a strategy for the found base ----------------------------------------------------------------


def strategies(
    params: Params, rows: Sequence[Known], members: Sequence[dict[str, Any]], size: int
) -> dict[str, Scaling]:
    """Return the strategies that different laws give the found base at a hidden size.

    Those of the dimensions are fitted to what the search found for the smaller sizes.
    """
    base, multiple = BaseModel.parse(members[0]["base"]), 2.0**size
    searched = min(size, len(params.scaling.stages))
    cut = params.scaling.model_copy(update={"stages": params.scaling.stages[:searched]})
    params = params.model_copy(update={"scaling": cut})
    found = [Scaling.parse(member["scaling"]) for member in members[:searched]]
    start, growth = found[0], {name: g**size for name, g in plan.EFFICIENTNET.items()}
    efficientnet = Scaling(
        round(growth["depth"], 3), round(growth["width"], 3),
        round(start.resolution * growth["resolution"]),
    )  # fmt: skip
    laws = plan.fit_laws(params, found)
    chosen = {
        "EfficientNet's law": efficientnet,
        "laws of the dimensions": plan.move(params, CIFAR10, base, laws, multiple),
    }
    options = affordable(params, CIFAR10, base, multiple, SIDE)
    for name, ways in KNOWN.items():
        surface = fitted(rows, ways, searched)
        chosen[f"surface of {name}"] = advise(params, surface, base, options).best
    return chosen


def losses(
    params: Params, rows: Sequence[Known], members: Sequence[dict[str, Any]], size: int
) -> dict[str, Any]:
    """Return what the reference says that each law's strategy loses at a size, and trainings.

    The loss is against the best that the budget affords with pixels that the images hold, and
    against the best with any; a share of 1.
    """
    base, reference = BaseModel.parse(members[0]["base"]), fitted(rows, (TRAINED,), 99)
    options = affordable(params, CIFAR10, base, 2.0**size, SIDE)
    held = [by for by in options if by.resolution <= SIDE]
    bests = {name: advise(params, reference, base, o) for name, o in
             (("held", held), ("any", options))}  # fmt: skip
    said = {}
    for name, by in strategies(params, rows, members, size).items():
        network = scale(params.space, base, by)
        said[name] = {
            "scaling": str(by), "flops": flops(network, CIFAR10),
            "expected": float(reference.predict([network])[0]),
            "lost": lost(reference, params, bests["held"], by),
            "lost_to_any": lost(reference, params, bests["any"], by),
        }  # fmt: skip
    return {"best": {name: str(advice.best) for name, advice in bests.items()}, "laws": said}


def lost(reference: Surface, params: Params, best: Advice, by: Scaling) -> dict[str, float]:
    """Return the best option's accuracy less a strategy's, with the reference's 95 % interval."""
    networks = [scale(params.space, best.base, one) for one in (best.best, by)]
    first, second = reference.drawn(networks).T
    low, high = np.quantile(first - second, [0.025, 0.975]).tolist()
    expected = reference.predict(networks)
    return {"mean": float(expected[0] - expected[1]), "low": low, "high": high}


# --- a choice among random networks ---------------------------------------------------------------


def regrets(rows: Sequence[Known], size: int) -> dict[str, Any]:
    """Return by how much choosing among a few random networks of a size falls short of the best.

    By trainings, whose noise nothing foresees, and by the reference. Intervals are of the networks
    (bootstrap); ``below_shared`` is shared weights' regret less another's, by the reference.
    """
    pool = [row for row in rows if row.size == size and SHARED in row.scores]
    networks = [row.network for row in pool]
    reference = fitted(rows, (TRAINED,), 99).predict(networks)
    trained = np.array([np.mean(row.trained) for row in pool])
    scores = {
        "shared weights": np.array([row.scores[SHARED] for row in pool]),
        "fine-tuned": np.array([row.scores[TUNED] for row in pool]),
        "FLOPs": np.array([flops(network, CIFAR10) for network in networks], float),
        "the reference": reference,
    } | {f"surface of {n}": fitted(rows, w, size).predict(networks) for n, w in KNOWN.items()}
    generator = np.random.default_rng(0)
    resampled = [np.arange(len(pool)), *generator.integers(len(pool), size=(RESAMPLED, len(pool)))]
    picks = generator.random((SUBSETS, len(pool))).argsort(1)[:, :AMONG]
    found: dict[str, dict[str, np.ndarray]] = {}
    for name, score in scores.items():
        found[name] = {
            what: np.array([_regret(score[own], truth[own], picks) for own in resampled])
            for what, truth in (("trained", trained), ("reference", reference))
        }
    shared = found["shared weights"]["reference"]
    return {
        name: {what: _summary(values) for what, values in by.items()}
        | {"below_shared": _summary(shared - by["reference"])}
        for name, by in found.items()
    }


def _regret(score: np.ndarray, truth: np.ndarray, picks: np.ndarray) -> float:
    """Return the mean over subsets of the best one's truth less that of the highest score."""
    chosen = picks[np.arange(len(picks)), score[picks].argmax(1)]
    return float((truth[picks].max(1) - truth[chosen]).mean())


def _summary(values: np.ndarray) -> dict[str, float]:
    low, high = np.quantile(values[1:], [0.025, 0.975]).tolist()
    return {"mean": float(values[0]), "low": low, "high": high}


# --- the script -----------------------------------------------------------------------------------


def points(rows: Sequence[Known], below: int) -> dict[str, list[regressions.Point]]:
    """Return what is known of the sizes below one, by ways of measuring."""
    small = [row for row in rows if row.size < below]
    told = {"trained": [(r.network, r.size, float(np.mean(r.trained))) for r in small]}
    for name, way in (("fine-tuned", TUNED), ("shared", SHARED)):
        told[name] = [(r.network, r.size, r.scores[way]) for r in small if way in r.scores]
    return told


def own_slopes(told: dict[str, list[regressions.Point]]) -> dict[str, float]:
    """Return how far the slopes of scores are off those of trainings, in units of `surfaces.OWN`.

    The root mean square over depth, width, resolution and kernel, with what a doubling of FLOPs
    pays when trained as the unit.
    """
    slopes = {}
    for name, own in told.items():
        evaluations = [Evaluation(network, a, TRAINED) for network, _, a in own]
        found = surfaces.fit(evaluations, SIDE, 1, np.random.default_rng(0))
        slopes[name] = found.coefficients[[1, 2, 3, 5]]
    trained, spent = zip(*((a, np.log2(flops(n, CIFAR10))) for n, _, a in told["trained"]),
                         strict=True)  # fmt: skip
    pays = np.std(trained) / np.std(spent) * np.array([*surfaces.POWERS[:3], surfaces.OTHERS[0]])
    return {name: float(np.sqrt(np.mean(np.square((own - slopes["trained"]) / pays))))
            for name, own in slopes.items() if name != "trained"}  # fmt: skip


def main() -> None:
    """Fit, choose, and write the raw numbers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preset", default="cifar10-cpu", help="whose results are read")
    parser.add_argument("--more", default="", help="other names that `rank` has results under")
    parser.add_argument("--tables", type=Path, help="folder with a grids.csv")
    parser.add_argument("--results", type=Path, default=scripts.RESULTS, help="folder of the JSON")
    chosen = parser.parse_args()
    params = scripts.params_of(chosen.preset)
    folder = chosen.results / params.data.name
    others = [chosen.results / name for name in chosen.more.split(",") if name]
    ranks = [json.loads((at / "rank.json").read_text()) for at in (folder, *others)]
    family, hidden = (json.loads((folder / f"{name}.json").read_text())
                      for name in ("family", "extrapolation"))  # fmt: skip
    rows = known(ranks, family, hidden["hidden"]["predicted"])
    members, last = family["members"], len(params.scaling.stages) - 1
    told = points(rows, last)
    try:
        grid = regressions.grid(chosen.tables / "grids.csv") if chosen.tables else None
    except ValueError as error:
        raise SystemExit(str(error)) from error
    errors = regressions.compare(told, SIDE)
    if grid:
        errors["MobileNetV1, larger half"] = grid
    found = {
        "networks": len(rows), "trainings": sum(len(row.trained) for row in rows),
        "regressions": errors, "own_slopes": own_slopes(told),
        "surface": fitted(rows, (TRAINED,), 99).plain(),
        "losses": {m["name"]: losses(params, rows, members, size)
                   for size, m in enumerate(members) if size >= last},
        "regrets": regrets(rows, last),
    }  # fmt: skip
    said = ["--preset", chosen.preset, *(["--more", chosen.more] if chosen.more else [])]
    said += ["--tables", chosen.tables.resolve().name] if chosen.tables else []
    head = {"command": scripts.command("surface", said)} | about("cpu")
    files.write_json(folder / "surface.json", head | found)
    for name, row in found["losses"].items():
        for law, said in row["laws"].items():
            print(f"{name} {law:45} {said['scaling']:22} loses {said['lost']['mean']:+.2%}")
    for name, by in found["regrets"].items():
        print(f"{name:45} regret {by['trained']['mean']:.2%}, {by['reference']['mean']:.2%}")


if __name__ == "__main__":
    main()
