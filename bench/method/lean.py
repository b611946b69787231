"""What a lean search costs beside one-shot NAS, and whether its find is as good: replayed.

    python -m bench.method.lean

Nothing is trained or scored. Searches run on a *scoreboard*: a network's scores by shared weights
and after fine-tuning are those of surfaces fitted to the 80 networks that `rank` scored (for other
steps of fine-tuning than rank's, `tuning`, its first super-supernet), and noise of its own; what it
is worth is the surface of all trainings (bench/method/surface.py). The noise of scores on all
images of select is what those networks show about their surface; all of it is taken for noise of
the images, so a score on a tenth of them has the square root of ten times as much. Each seed has
its own noise.

Multiply-accumulates are as in bench/method/cost.py: the super-supernet's are those of the networks
that its seed draws, a candidate's those of the images that it sees. One-shot NAS is priced as it
was run, with searches like the arm's own, and as if its searches cost nothing.
The find's accuracy is the mean over the searched sizes, and a search is no worse than another if
the interval of its paired difference lies above -0.5 points.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.method import scripts, statistics
from bench.method.cost import candidates_macs
from bench.method.family import one_shot_lab
from bench.method.lab import Lab
from bench.method.noise import CIFAR10
from bench.method.surface import SIDE, known
from bench.speed.common import PASSES, about
from scalenet.config import params as config
from scalenet.config.params import Params, Search
from scalenet.laws import surface as surfaces
from scalenet.laws.surface import TRAINED, Evaluation, Surface
from scalenet.pipeline import settings
from scalenet.records import files
from scalenet.records.documents import Candidate, Found
from scalenet.search.run import find
from scalenet.search.scoring import Measure, Measurement, Measures
from scalenet.space.network import Network
from scalenet.space.scale import scale
from scalenet.training import supernet

COUNTS = {"train": 22_000, "select": 3_000}  # of the preset cifar10-cpu
METRICS = ("accuracy", "probability")
RANKED = 120  # steps of fine-tuning of the networks that `rank` scored
MARGIN = 0.005  # of accuracy, by which a find may be worse and count as no worse
EVEN = {"supernet": {"stage_weights": [1.0, 1.0, 1.0, 1.0]}}
AS_MEASURED = {
    "supernet": {"stage_weights": [1.0, 1.0, 2.0, 3.0]},
    "search": {"images": 0, "calibration": 256, "random_bases": 3, "iterations": 2, "population": 6,
               "generations": 3, "surrogate": 4, "model": "ridge", "bound": 0.0,
               "finetune": {"steps": RANKED, "share": 0.5, "metric": "accuracy"}},
}  # fmt: skip


def few(**search: Any) -> dict[str, Any]:
    """Return params of a search with even weights that sees few images, and tunes few networks."""
    section = {"images": 500, "calibration": 64, "random_bases": 2, "iterations": 1,
               "population": 6, "generations": 3}  # fmt: skip
    finetune = {"steps": RANKED, "share": 0.2, "metric": "probability"}
    return EVEN | {"search": section | {"finetune": finetune} | search}


SHORT = {"steps": RANKED // 3, "share": 0.2, "metric": "accuracy"}
ARMS: dict[str, dict[str, Any]] = {
    "as docs/results.md was measured": AS_MEASURED,
    "few images, no surrogate": few(surrogate=1),
    "few images, ridge": few(surrogate=4),
    "few images, Gaussian process, bound 0": few(surrogate=4, model="process"),
    "few images, Gaussian process, bound 2": few(surrogate=4, model="process", bound=2.0),
    "few images, ridge, a third of the steps": few(surrogate=4, finetune=SHORT),
}
REFERENCE = next(iter(ARMS))


@dataclass(frozen=True)
class Scoreboard:
    """What networks score and what they are worth, by surfaces; the noise is a seed's.

    ``tuned`` has those after each number of steps that is known.
    """

    shared: dict[str, Surface]
    tuned: dict[int, dict[str, Surface]]
    worth: Surface

    @classmethod
    def of(cls, folder: Path) -> Scoreboard:
        """Fit the surfaces to a preset's results."""
        rank, family, extrapolation, tuning = (
            json.loads((folder / f"{n}.json").read_text())
            for n in ("rank", "family", "extrapolation", "tuning")
        )
        rows = known([rank], family, extrapolation["hidden"]["predicted"])
        trained = [e for row in rows for e in row.evaluations((TRAINED,))]
        networks = [Network.parse(row["network"]) for row in rank["networks"]]

        def by_metric(scores: list[dict[str, Any]]) -> dict[str, Surface]:
            told = list(zip(networks, scores, strict=True))
            return {m: _fit([Evaluation(n, row[m], TRAINED) for n, row in told]) for m in METRICS}

        tuned = {int(n): by_metric(own["scores"][0]) for n, own in tuning["steps"].items()}
        tuned[RANKED] = by_metric(rank["scores"]["fine-tuned"])
        return cls(by_metric(rank["scores"]["default"]), tuned, _fit(trained))

    def measures(self, search: Search, seed: int) -> Measures:
        """Return what measures a search's candidates and, in the cases of
        `scalenet.search.measuring.read`, its finalists in another way."""
        every = COUNTS["select"]
        images = search.images or every
        shared = self._measure(self.shared, np.sqrt(every / images), [seed, 0])
        if search.finetune.steps:
            return Measures(
                shared, self._measure(self.tuned[search.finetune.steps], 1.0, [seed, 1])
            )
        if images < every:
            return Measures(shared, self._measure(self.shared, 1.0, [seed, 1]))
        return Measures(shared)

    def _measure(self, by: dict[str, Surface], spread: float, seed: Sequence[int]) -> Measure:
        def measure(networks: Sequence[Network]) -> Iterator[Measurement]:
            for network in networks:
                generator = np.random.default_rng([*seed, zlib.crc32(str(network).encode())])
                noise = generator.standard_normal() * spread  # one for both: the same images
                values = [float(by[m].predict([network])[0] + noise * by[m].noise[TRAINED])
                          for m in METRICS]  # fmt: skip
                yield Measurement(*(round(value, 6) for value in values), 0.0)

        return measure

    def accuracy(self, params: Params, found: Found) -> float:
        """Return what a find is worth: the mean over its sizes."""
        networks = [scale(params.space, found.base, by) for by in found.strategies]
        return float(self.worth.predict(networks).mean())


def _fit(told: list[Evaluation]) -> Surface:
    return surfaces.fit(told, SIDE, 1, np.random.default_rng(0))


def changed(params: Params, over: dict[str, Any]) -> Params:
    """Return params with nested changes."""
    content = params.model_dump(mode="json")
    settings.merge(content, over)
    return config.parse(content)


def training_macs(params: Params) -> int:
    """Return the multiply-accumulates of training a super-supernet."""
    section = params.supernet
    drawn = supernet.sampled_flops(params, CIFAR10, section.sampling, section.recipe.steps)
    return PASSES * section.recipe.batch * sum(flops for _, _, flops in drawn)


def searched(params: Params, board: Scoreboard, seed: int) -> tuple[Found, list[Candidate]]:
    """Search on the scoreboard; return the find and all candidates."""
    search = params.search.model_copy(update={"seed": seed})
    own, measures = params.model_copy(update={"search": search}), board.measures(search, seed)
    return find(own, CIFAR10, np.random.default_rng(seed), measures, lambda *measured: None)


def search_macs(params: Params, candidates: Sequence[Candidate]) -> int:
    """Return the multiply-accumulates of measuring candidates."""
    return candidates_macs(params, COUNTS, [(c.flops, c.phase) for c in candidates])


def replay(
    params: Params, board: Scoreboard, seeds: int, said: Callable[[str], None]
) -> dict[str, Any]:
    """Search with so many seeds; return what each found is worth and cost, without training."""
    worth, macs, counts = [], [], []
    for seed in range(seeds):
        found, candidates = searched(params, board, seed)
        worth.append(board.accuracy(params, found))
        macs.append(search_macs(params, candidates))
        counts.append(len(candidates))
    said(f"{np.mean(worth):.2%}, {np.mean(counts):.0f} candidates")
    return {"worth": worth, "macs": macs, "candidates": counts}


def one_shot(
    params: Params, board: Scoreboard, priced: dict[str, Any]
) -> dict[str, dict[str, float]]:
    """Return one-shot NAS's cost for each size.

    As it was run, with a search by ``params``, replayed once, and its training alone.
    """
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        lab = Lab(params, Path(folder))
        (lab.paths.data).mkdir(parents=True)
        for name, entry in params.family.items():
            own = one_shot_lab(lab, entry.multiple).params
            training = training_macs(own)
            found[name] = {
                "as run": priced[name]["macs"],
                "searched alike": float(training + search_macs(own, searched(own, board, 0)[1])),
                "searches free": float(training),
            }
    return found


def ratios(
    macs: float, sizes: dict[str, dict[str, float]], searched: int
) -> dict[str, dict[str, float]]:
    """Return how many times dearer one-shot NAS is: for the searched sizes, and for all."""
    rows = list(sizes.values())
    return {
        way: {
            "searched sizes": sum(row[way] for row in rows[:searched]) / macs,
            "whole family": sum(row[way] for row in rows) / macs,
        }
        for way in rows[0]
    }


def main() -> None:
    """Replay every arm; write what it costs and finds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preset", default="cifar10-cpu", help="whose results are read")
    parser.add_argument("--seeds", type=int, default=20, help="searches of each arm")
    parser.add_argument("--results", type=Path, default=scripts.RESULTS, help="folder of the JSON")
    chosen = parser.parse_args()
    params = scripts.params_of(chosen.preset)
    folder = chosen.results / params.data.name
    board = Scoreboard.of(folder)
    priced = json.loads((folder / "cost.json").read_text())["one_shot"]
    arms: dict[str, Any] = {}
    for name, over in ARMS.items():
        own = changed(params, over)
        row = replay(own, board, chosen.seeds, lambda text, name=name: print(f"{name:40} {text}"))
        row["training"] = training_macs(own)
        total = row["training"] + float(np.mean(row["macs"]))
        row["one_shot"] = one_shot(own, board, priced)
        row["ratios"] = ratios(total, row["one_shot"], len(params.scaling.stages))
        row["less_reference"] = statistics.paired(
            row["worth"], arms[REFERENCE]["worth"] if arms else row["worth"]
        )
        arms[name] = row
        print(f"{'':40} {total:.3g}, {row['ratios']}, {row['less_reference']}", flush=True)
    said = ["--preset", chosen.preset, "--seeds", str(chosen.seeds)]
    head = {"command": scripts.command("lean", said)} | about("cpu")
    files.write_json(folder / "lean.json", head | {"arms": arms})


if __name__ == "__main__":
    main()
