"""The plan as lines of text: what was seen, what is chosen, how long it takes, what to mind."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator, Mapping

import numpy as np

from scalenet.data.listing import UNMARKED
from scalenet.pipeline.init.design import Design, Wish, slowed
from scalenet.pipeline.init.estimate import Rates
from scalenet.pipeline.init.look import Seen
from scalenet.space.scaling import all_strategies

NARROW = 68  # columns of a line that may be long, after its label
WORST = 5.0  # points: a wider 95 % interval of an accuracy of 80 % tells few members apart
SCARCE, UNEVEN = 20, 10  # images of a class to train on; ratio of the largest class to the smallest


def title(seen: Seen, wish: Wish) -> str:
    """Return what params.yaml says of itself."""
    return (
        f"Written by `scalenet init` for {seen.images:,} images of {len(seen.classes):,} classes, "
        f"{wish.minutes:g} minutes on the machine that it was run on."
    )


def about(seen: Seen, counts: Mapping[str, int]) -> Iterator[str]:
    """Yield what was seen, in lines of plain characters; ``counts`` are the images by split."""
    few, many = min(seen.counts), max(seen.counts)
    kind = "colour" if seen.channels == 3 else "grey"
    yield f"Seen      {seen.images:,} {kind} images of {len(seen.classes):,} classes"
    each = f"{few:,} to {many:,}" if few < many else f"{few:,}"
    yield f"          {each} images a class; shorter side {seen.side} px (median)"
    own = f" ({', '.join(seen.given)} as the source has it)" if seen.given else ""
    splits = ", ".join(f"{name} {count:,}" for name, count in counts.items())
    yield f"          about {splits}{own}"


def lines(seen: Seen, wish: Wish, design: Design, rates: Rates) -> Iterator[str]:
    """Yield what was chosen and why, in lines of plain characters."""
    params, counts = design.params, design.counts
    budgets = [params.scaling.target(size) for size in range(len(params.family))]
    for size, flops in ((0, budgets[0]), (len(budgets) - 1, budgets[-1])):
        step = rates.busy * (rates.step + params.retrain.recipe.batch * flops / rates.trained)
        about = f"a step of {params.retrain.recipe.batch} images takes {1000 * step:.0f} ms"
        yield f"{'Timed' if size == 0 else '':9} S{size}, {_flops(flops)} FLOPs: {about}"
    last = max(s.resolution for s in all_strategies(params.scaling))
    base = params.scaling.stages[0].resolutions[0]
    yield f"Chosen    stored at {params.data.size} px, seen at {base} to {last} px"
    yield f"          {len(budgets)} sizes, each searched: S0 {_flops(budgets[0])} FLOPs, doubling"
    steps, shared = params.retrain.recipe.steps, params.supernet.recipe.steps
    passes = steps * params.retrain.recipe.batch / counts["train"]
    yield f"          to S{len(budgets) - 1} {_flops(budgets[-1])}; {shared:,} steps together, then"
    yield f"          {steps:,} for S0, {passes:.1f} times over the images, more for larger ones"
    yield from _minutes(design.seconds)
    beside = ": stages run side by side" if design.wall < sum(design.seconds.values()) else ""
    yield f"          {design.wall / 60:.1f} in all, of {wish.minutes:g}{beside}"
    for warning in warnings(seen, design, rates):
        yield f"Warning   {warning}"


def warnings(seen: Seen, design: Design, rates: Rates) -> Iterator[str]:
    """Yield what a user should know before the run."""
    params, counts = design.params, design.counts
    last = max(s.resolution for s in all_strategies(params.scaling))
    smaller = float(np.mean(seen.sides < last))
    if seen.unmarked:
        yield UNMARKED
    if last > seen.side:
        yield (
            f"the largest resolution, {last} px, exceeds what the images hold ({seen.side} px): "
            "they are enlarged, which adds work but no detail"
        )
    elif smaller > 0.1:
        yield f"{smaller:.0%} of the images are smaller than the largest resolution, {last} px"
    for split, wide in ((name, _interval(counts[name])) for name in ("select", "test")):
        if wide > WORST:
            yield (
                f"{split} has about {counts[split]:,} images: accuracies near 80 % are known to "
                f"+-{wide:.0f} points, which may not tell members apart"
            )
    if min(seen.counts) * counts["train"] / seen.images < SCARCE:
        name = seen.classes[int(np.argmin(seen.counts))]
        yield f"class {name} has {min(seen.counts)} images in all; a few more would help it most"
    if max(seen.counts) > UNEVEN * min(seen.counts):
        yield "classes are uneven: top-1 accuracy is mostly that of the large ones"
    if params.baselines.pretrained:
        yield f"transfer from {params.baselines.pretrained.model} comes on top: it was not timed"
    if slowed(rates):
        yield f"the minutes are those of now{slowed(rates)}"


def _interval(count: int) -> float:
    """Return half the width, in points, of the 95 % interval of an accuracy of 80 %."""
    return 196 * math.sqrt(0.8 * 0.2 / max(1, count))


def _flops(count: float) -> str:
    """Return FLOPs as 230 k or 7.4 M."""
    return f"{count / 1e6:.3g} M" if count >= 1e6 else f"{count / 1e3:.3g} k"


def _minutes(seconds: dict[str, float]) -> Iterator[str]:
    each = ", ".join(f"{stage}\N{NO-BREAK SPACE}{took / 60:.1f}" for stage, took in seconds.items())
    for number, line in enumerate(textwrap.wrap(each, NARROW)):
        yield f"{'' if number else 'Minutes':9} " + line.replace("\N{NO-BREAK SPACE}", " ")
