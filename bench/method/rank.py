"""Whether shared weights rank networks as training from scratch does, and what moves that.

For each scaling stage, random feasible networks are scored with the super-supernet and trained from
scratch; Kendall's τ between both, with a bootstrap interval. The report puts beside it what a
perfect score could reach, and what needs no weights (bench/method/noise.py). Variants of the
super-supernet score the same networks; but for ``half-steps`` and ``double-steps`` each is trained
with the default's arithmetic, so with as many steps as that buys. ``fine-tuned`` is the default's
slices trained on alone for ``search.finetune``; as in a search, it sees all of select and the
variants ``search.images`` of it (``all of select``: the default on all). ``--stages 0,1`` leaves
the other scaling stages out; ``--variants default,bilateral`` the other variants. ``--trainings 2``
holds scores against the mean of two trainings of each network, whose noise is smaller:
`bench.method.pilot` says how many an experiment needs.
"""

from __future__ import annotations

from collections.abc import Iterator
from statistics import fmean
from typing import Any

import numpy as np

from bench.method import scripts
from bench.method.cost import training_macs
from bench.method.lab import Lab, Made
from bench.method.statistics import kendall
from scalenet.search.finetuning import Finetuner
from scalenet.search.scoring import Scorer
from scalenet.space.budget import Budgeted
from scalenet.space.network import Network

VARIANTS = {
    "default": {},
    "hierarchical": {"sampling": "hierarchical"},
    "uniform": {"sampling": "uniform"},
    "by-count": {"stage_weights": None},  # a scaling stage is drawn as often as it has strategies
    "bilateral": {"coupling": "bilateral"},
    "two-a-step": {"sampled": 2},  # two networks on the same images
    "sandwich": {"sandwich": True, "sampled": 1},
    "distilled": {"sandwich": True, "sampled": 1, "distill": True},
    "half-steps": {"recipe": {"steps": 0.5}},
    "double-steps": {"recipe": {"steps": 2.0}},
}
CALIBRATION = (0.125, 0.5, 2, 4)  # of the default number of images
OPTIONS = {"networks": 20, "trainings": 1, "stages": "", "variants": ",".join(VARIANTS)}
EVERY_IMAGE = "all of select"  # the row of the default scored on more images than its search does


def networks(lab: Lab, count: int) -> list[tuple[int, Network]]:
    """Draw feasible networks of every size: a base model, then a feasible strategy."""
    drawn: list[tuple[int, Network]] = []
    sizes = range(len(lab.params.scaling.stages))
    for size in sizes:
        weights = tuple(float(i == size) for i in sizes)
        draw, generator = Budgeted(lab.budget, weights).draw, np.random.default_rng(size)
        samples = (draw(generator) for _ in range(3 * count))
        distinct = dict.fromkeys(sample.network for sample in samples)
        drawn += [(size, network) for network in list(distinct)[:count]]
    return drawn


def scores(
    lab: Lab,
    chosen: list[tuple[int, Network]],
    calibration: int | None = None,
    images: int | None = None,
) -> list[dict[str, float]]:
    """Score networks with a lab's super-supernet, recalibrated on so many images of train, on so
    many of select (0: all): by default as the lab's search scores all but finalists."""
    search = lab.params.search
    search = search.model_copy(update={"calibration": calibration or search.calibration})
    images = search.images if images is None else images
    needs = search.calibration, search.batch, images
    name = f"scores-{search.calibration}-{images}"
    return _scored(lab, chosen, name, needs, lambda *given: Scorer(*given, search, images))


def finetuned(lab: Lab, chosen: list[tuple[int, Network]]) -> list[dict[str, float]]:
    """Score networks after fine-tuning their slices."""
    needs = [section.model_dump() for section in (lab.params.search, lab.params.supernet.recipe)]
    name = f"finetuned-{lab.params.search.finetune.steps}"
    return _scored(lab, chosen, name, needs, lambda *given: Finetuner(*given, lab.params))


def _scored(
    lab: Lab, chosen: list[tuple[int, Network]], name: str, needs: Any, made: Made
) -> list[dict[str, float]]:
    measure, journal = lab.remembered(name, needs, made)
    found = list(measure([network for _, network in chosen]))
    journal.close()
    return [
        {"network": str(network), "accuracy": one.accuracy, "probability": one.probability}
        for (_, network), one in zip(chosen, found, strict=True)
    ]


def taus(
    lab: Lab,
    chosen: list[tuple[int, Network]],
    trained: list[float],
    measured: list[dict[str, float]],
) -> dict:
    """Return Kendall's τ of each size and their mean, by either metric."""
    stages = sorted({stage for stage, _ in chosen})
    found: dict[str, dict] = {}
    for metric in ("probability", "accuracy"):
        rows = {
            str(stage): kendall(
                [m[metric] for m, (at, _) in zip(measured, chosen, strict=True) if at == stage],
                [t for t, (at, _) in zip(trained, chosen, strict=True) if at == stage],
            )
            for stage in stages
        }
        known = [row["tau"] for row in rows.values() if row["tau"] is not None]
        found[metric] = rows | {"mean": sum(known) / len(known) if known else None}
    return found


def variant(lab: Lab, over: dict) -> Lab:
    """Return a lab whose super-supernet is trained in another way.

    That is so many times the steps, else equal arithmetic.
    """
    changes = dict(over)
    factor = changes.pop("recipe", {}).get("steps")
    plain = lab.variant({"supernet": changes})
    if factor is None and plain.params == lab.params:
        return plain
    factor = factor or training_macs(lab) / training_macs(plain)
    recipe = lab.params.supernet.recipe
    steps, warmup = (max(1, round(factor * count)) for count in (recipe.steps, recipe.warmup))
    every = max(1, steps // 20)
    recipe = {"steps": steps, "warmup": warmup, "log": every, "checkpoint": 4 * every}
    return lab.variant({"supernet": changes | {"recipe": recipe}})


def trainings(lab: Lab, drawn: list[tuple[int, Network]], count: int) -> list[list[float]]:
    """Return the accuracies of each network's trainings, with seeds 0 to count - 1."""
    outcome = lab.trained((network, seed) for _, network in drawn for seed in range(count))
    return [[outcome[network, seed]["accuracy"] for seed in range(count)] for _, network in drawn]


def scored(
    lab: Lab, drawn: list[tuple[int, Network]], variants: list[str]
) -> Iterator[tuple[str, list[dict[str, float]]]]:
    """Score networks in every way that is compared."""
    search, counts = lab.params.search, lab.info.counts
    for name in variants:
        yield name, scores(variant(lab, VARIANTS[name]), drawn)
    if 0 < search.images < counts["select"]:
        yield EVERY_IMAGE, scores(lab, drawn, images=0)
    if search.finetune.steps:
        yield "fine-tuned", finetuned(lab, drawn)
    for factor in CALIBRATION:
        count = min(round(search.calibration * factor), counts["train"])
        yield f"{count} images recalibrate", scores(lab, drawn, count)


def sizes_of(text: str, lab: Lab) -> list[int]:
    """Read ``--stages``: sizes of the preset, such as 2,3; all if none is named."""
    known = range(len(lab.params.scaling.stages))
    given = text.split(",") if text else list(map(str, known))
    if not all(size.isdecimal() and int(size) in known for size in given):
        raise SystemExit(
            f"--stages is {text!r}; give sizes of 0 to {known[-1]}, such as 0,{known[-1]}"
        )
    return list(dict.fromkeys(map(int, given)))


def variants_of(text: str) -> list[str]:
    """Read ``--variants``."""
    given = text.split(",")
    if not set(given) <= set(VARIANTS):
        raise SystemExit(f"--variants is {text!r}; give some of {','.join(VARIANTS)}")
    return given


def show(name: str, found: dict) -> None:
    """Print the mean τ of a variant by either metric."""
    means = (f"by {metric} {row['mean'] or 0:+.3f}" for metric, row in found.items())
    print(f"{name:24}", ", ".join(means), flush=True)


def main() -> None:
    """Train the networks, then score them with every variant."""
    chosen = scripts.options(__doc__, **OPTIONS)
    if chosen.networks < 2:
        raise SystemExit(f"--networks is {chosen.networks}; give at least 2: one has no order")
    lab = scripts.open_lab(chosen)
    variants, sizes = variants_of(chosen.variants), sizes_of(chosen.stages, lab)
    drawn = [pair for pair in networks(lab, chosen.networks) if pair[0] in sizes]
    accuracies = trainings(lab, drawn, chosen.trainings)
    trained = [fmean(own) for own in accuracies]
    found, raw = {}, {}
    for name, measured in scored(lab, drawn, variants):
        raw[name], found[name] = measured, taus(lab, drawn, trained, measured)
        show(name, found[name])
    rows = [
        {"stage": s, "network": str(n), "trained": fmean(own), "accuracies": own}
        for (s, n), own in zip(drawn, accuracies, strict=True)
    ]
    scripts.write(
        lab,
        chosen,
        "rank",
        metric=lab.params.search.metric,
        task=list(lab.task),
        trainings=chosen.trainings,
        networks=rows,
        scores=raw,
        tau=found,
    )


if __name__ == "__main__":
    main()
