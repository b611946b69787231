"""How networks are trained on images of a kind and number, and why: numbers with their reasons."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from scalenet.config.space import Scalings, Space
from scalenet.pipeline.init.estimate import PAIR, Rates
from scalenet.pipeline.init.frame import SMALL, TINY, Frame
from scalenet.pipeline.init.look import Seen
from scalenet.pipeline.init.shares import Shares
from scalenet.space.measure import measure

EPOCHS = 100  # passes over the training images that are enough for a member
ENOUGH = (1500, 12000)  # fewest and most steps that are enough, however many images there are
GROWN = 1.15  # factor on a member's steps for each doubling of its budget
SHARED = 0.7  # steps of the super-supernet, as a share of a member's
FEW_EPOCHS = 50  # below, crops are mild: there is no time to learn from hard ones
WEIGHTS = (1.0, 1.0, 1.0, 2.0, 2.0, 3.0)  # of the sizes in the super-supernet, last ones first
WIDTHS = (8, 16, 24)  # of the residual networks that the family is measured against
TRIALS = 8  # trials of widths together take so many times the largest member's share each
LEAST = 20  # steps of a baseline
MOST, SVM = 10_000, 0.15  # images of the SVM, and the share of the family's seconds it may take


class Choice(NamedTuple):
    """A value of params.yaml and why it is chosen; "" where its comment there says enough."""

    value: Any
    why: str = ""


Choices = dict[str, Choice]  # by dotted key of params.yaml


class Needs(NamedTuple):
    """What recipes depend on: the frame, the space and its budgets, how the images are split."""

    frame: Frame
    space: Space
    scalings: Scalings
    shares: Shares

    @property
    def sizes(self) -> int:
        return len(self.scalings.stages)

    @property
    def train(self) -> int:
        return self.shares.train


def batch(frame: Frame, train: int) -> int:
    """Return the images of a step: of tiny ones more, which cost next to nothing."""
    return max(2, min(64 if frame.size <= TINY else 32, train // 4))


def enough(frame: Frame, train: int) -> int:
    """Return the steps that are enough for a member on so many training images."""
    least, most = ENOUGH
    return min(most, max(least, EPOCHS * train // batch(frame, train)))


def choices(seen: Seen, needs: Needs, steps: int) -> Choices:
    """Return every number that is chosen for images, budgets and the steps of a member."""
    return (
        _data(seen, needs)
        | _space(needs)
        | _scaling(needs)
        | _supernet(seen, needs, max(1, round(steps * SHARED)))
        | _search(needs)
        | _members(seen, needs, steps)
    )


def _data(seen: Seen, needs: Needs) -> Choices:
    frame, shares = needs.frame, needs.shares
    kind = "a sample has colours" if seen.channels == 3 else "every image of a sample is grey"
    limited = "all would take too much memory" if shares.per_class else ""
    larger = f"the images' shorter sides are {seen.side} px (median)"
    kept = "they are stored whole" if frame.size == seen.side else "larger views cost time"
    rare = "; lowered, so that classes of few images keep some to train on"
    rare = rare if shares.lowered else ""
    drawn = "of the seeds tried, the first that spreads the classes best over the splits"
    return {
        "data.channels": Choice(seen.channels, kind),
        "data.size": Choice(frame.size, f"{larger}; {kept}"),
        "data.per_class": Choice(shares.per_class, limited),
        "data.most_skipped": Choice(
            seen.most_skipped, "a file that cannot be read is named, not fatal"
        ),
        "data.select_fraction": Choice(
            shares.select, f"about 1,000 images tell candidates apart; never more than 15 %{rare}"
        ),
        "data.test_fraction": Choice(
            shares.test, f"about 2,000 images tell members apart; never more than 20 %{rare}"
        ),
        "data.seed": Choice(shares.seed, drawn if shares.groups else ""),
    }


def _space(needs: Needs) -> Choices:
    space, frame = needs.space.model_dump(mode="json"), needs.frame
    strides = frame.stem_stride * math.prod(block["stride"] for block in space["stages"])
    positions = -(-frame.base // strides)
    return {
        "space.stem": Choice(
            space["stem"],
            f"stem and blocks shrink {strides} times: {frame.base} px end as {positions} a side",
        ),
        "space.stages": Choice(space["stages"], "widths that make the base models' budget"),
        "space.head": Choice(space["head"], "a channel a class where there are many, up to 256"),
        "space.divisor": Choice(space["divisor"]),
    }


def _scaling(needs: Needs) -> Choices:
    scaling, frame = needs.scalings, needs.frame
    last = scaling.target(needs.sizes - 1)
    latency = scaling.latency and scaling.latency.model_dump(mode="json")
    has = f"S{needs.sizes - 1} has {measure(scaling).said(last)}"
    return {
        "scaling.measure": Choice(scaling.measure),
        "scaling.latency": Choice(latency),
        "scaling.budget": Choice(
            scaling.budget, f"typical base models have it at {frame.base} px; {has}"
        ),
        "scaling.tolerance": Choice(scaling.tolerance),
        "scaling.tries": Choice(scaling.tries),
        "scaling.stages": Choice(
            scaling.model_dump(mode="json")["stages"],
            "depth, width and resolution grow together; widths that reach each size's budget",
        ),
        "family": Choice(
            {f"S{i}": {"multiple": 2**i, "seed": 0} for i in range(needs.sizes)},
            "every size that is searched; a larger one would not fit in the super-supernet",
        ),
        "publish.next_multiples": Choice([2**needs.sizes]),
        "extrapolate.resolution_step": Choice(frame.step),
    }


def _supernet(seen: Seen, needs: Needs, steps: int) -> Choices:
    lr = 0.12 if needs.frame.size <= TINY else 0.2
    return {
        "supernet.sampling": Choice("budgeted", "trains only networks that the search may choose"),
        "supernet.stage_weights": Choice(
            list(WEIGHTS[-needs.sizes :]), "channels that only large networks use learn late"
        ),
        "supernet.sampled": Choice(1, "as many steps as networks: weights learn most from that"),
        **_recipe("supernet", seen, needs, steps, lr),
    }


def _members(seen: Seen, needs: Needs, steps: int) -> Choices:
    return {
        "retrain.init": Choice("supernet", "better than a fresh start in as many steps"),
        "retrain.use_select": Choice(False, "members are compared on select: not trained on it"),
        "retrain.growth": Choice(GROWN, "larger members need more steps"),
        "retrain.calibration": Choice(min(1024, needs.shares.sure)),
        **_recipe("retrain", seen, needs, steps, 0.1),
    }


def _search(needs: Needs) -> Choices:
    short = {"random_bases": 2, "iterations": 1, "population": 4, "generations": 3, "parents": 2}
    return {
        "search.stage_weights": Choice([1.0] * needs.sizes),
        "search.calibration": Choice(min(256, needs.shares.sure)),
        "search.batch": Choice(256),
        **{f"search.{key}": Choice(value) for key, value in short.items()},
    }


def _recipe(section: str, seen: Seen, needs: Needs, steps: int, lr: float) -> Choices:
    """Return the choices of one recipe: of the super-supernet or of the members."""
    images = batch(needs.frame, needs.train)
    epochs = steps * images / needs.train
    log = max(1, steps // 40 // 10 * 10 or steps // 10)
    decay = 5e-4 if epochs >= 20 else 1e-4
    values = {
        "steps": Choice(
            steps, f"what the minutes allow: {_times(epochs)} over {needs.train:,} images"
        ),
        "batch": Choice(images),
        "lr": Choice(lr),
        "warmup": Choice(steps // 10, "a tenth of the steps"),
        "weight_decay": Choice(decay, "images come back often" if decay > 1e-4 else ""),
        "ema": Choice(0.995 if steps >= 1000 else 0.99 if steps >= 200 else 0.95),
        "log": Choice(log),
        "checkpoint": Choice(5 * log),
        "augment": _augment(seen, needs.frame, epochs),
    }
    return {f"{section}.recipe.{key}": choice for key, choice in values.items()}


def baselines(
    took: Mapping[str, float], members: Iterable[str], rates: Rates, residual: bool
) -> Choices:
    """Return what the family is measured against, for the seconds that its stages take: with
    ``residual`` networks that take as many.

    Other work slows family and baselines alike, so it gives the baselines no more steps.
    """
    alone = {name: seconds / rates.busy for name, seconds in took.items()}
    largest = max(alone[name] for name in members)
    whole = alone["supernet"] + alone["search"] + sum(alone[name] for name in members)
    every = {"trial": largest / TRIALS, "member": largest, "run": whole}
    steps = {
        name: [max(LEAST, int(seconds / step)) for step in rates.residual]
        for name, seconds in every.items()
    }
    why = f"steps of {largest:.0f} s and {whole:.0f} s, those of the largest member and of the run"
    described = min(MOST, int(math.sqrt(SVM * whole / PAIR)))
    networks = Choice({"widths": list(WIDTHS), **steps}, why)
    return {
        "baselines.svm": Choice(described, "its time grows with their square"),
        "baselines.residual": networks if residual else Choice(None, "--no-residual was given"),
    }


def _times(epochs: float) -> str:
    return f"{epochs:.0f} times" if epochs >= 2 else f"{epochs:.1f} times"


def _augment(seen: Seen, frame: Frame, epochs: float) -> Choice:
    """Return the views. Grey images are never mirrored: a mirrored glyph is wrong."""
    colour = seen.channels == 3
    mirrored = (
        "mirrored, as most colour images may be (set flip: false if left and right mean something)"
        if colour
        else "not mirrored: grey images are often glyphs (set flip: true if they are none)"
    )
    still = {"rotate": 0, "shift": 0.0, "scale": [1.0, 1.0], "crop": [1.0, 1.0], "aspect": 1.0}
    if frame.size > SMALL:
        hard = colour and epochs >= FEW_EPOCHS
        changed = {"crop": [0.35 if hard else 0.6, 1.0], "aspect": 1.5 if hard else 1.25}
        why = f"random crops, {'hard' if hard else 'mild'} for {_times(epochs)} over the images"
    elif colour:
        changed, why = {"shift": 0.1}, "moved a little"
    else:
        changed = {"rotate": 10, "shift": 0.08, "scale": [0.9, 1.1]}
        why = "turned, moved and zoomed a little"
    return Choice(still | changed | {"flip": colour}, f"{why}; {mirrored}")
