"""The plan as lines of text: what was seen, what is chosen, how long it takes, what to mind."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator, Mapping

import numpy as np

from scalenet.config.params import Params
from scalenet.data import names
from scalenet.data.listing import UNMARKED
from scalenet.data.summary import DARK, MANY, almost_black, few_groups
from scalenet.pipeline.init import estimate
from scalenet.pipeline.init.design import Design, slowed
from scalenet.pipeline.init.drafts import Wish
from scalenet.pipeline.init.estimate import Rates
from scalenet.pipeline.init.look import Seen
from scalenet.pipeline.init.shares import SAFE, Shares
from scalenet.records.written import short
from scalenet.space.measure import measure
from scalenet.space.network import Task
from scalenet.space.scaling import all_strategies

NARROW = 68  # columns of a line that may be long, after its label
WORST = 5.0  # points: a wider 95 % interval of an accuracy of 80 % tells few members apart
CUT = 0.5  # share of an image that its central square should hold
READ = 0.2  # share of the minutes that reading images takes, from which it is said
SCARCE, UNEVEN = 20, 10  # images of a class to train on; ratio of the largest class to the smallest


def title(seen: Seen, wish: Wish) -> str:
    """Return what params.yaml says of itself."""
    return (
        f"Written by `scalenet init` for {seen.images:,} images of {len(seen.classes):,} classes, "
        f"{wish.minutes:g} minutes on the machine that it was run on."
    )


def about(seen: Seen, shares: Shares) -> Iterator[str]:
    """Yield what was seen, in lines of plain characters, and how it will be split."""
    few, many = min(seen.counts), max(seen.counts)
    kind = "colour" if seen.channels == 3 else "grey"
    yield f"Seen      {seen.images:,} {kind} images of {len(seen.classes):,} classes"
    for line in textwrap.wrap(names.few(seen.classes), NARROW):
        yield f"          {line}"
    each = f"{few:,} to {many:,}" if few < many else f"{few:,}"
    yield f"          {each} images a class; shorter side {seen.side} px (median)"
    own = f" ({', '.join(seen.given)} as the source has it)" if seen.given else ""
    yield f"          {'' if shares.exact else 'about '}{_by_split(shares.counts)}{own}"
    if shares.groups:
        yield f"          groups: {_by_split(shares.groups)}; none is torn apart"


def _by_split(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())


def lines(seen: Seen, wish: Wish, design: Design, rates: Rates) -> Iterator[str]:
    """Yield what was chosen and why, in lines of plain characters."""
    params, counts = design.params, design.shares.counts
    sizes = estimate.sizes(params, Task(params.data.channels, len(seen.classes)))
    largest = len(sizes) - 1
    for size, flops in ((0, sizes[0]), (largest, sizes[-1])):
        step = rates.busy * (rates.step + params.retrain.recipe.batch * flops / rates.trained)
        about = f"a step of {params.retrain.recipe.batch} images takes {1000 * step:.0f} ms"
        yield f"{'Timed' if size == 0 else '':9} S{size}, {short(round(flops))} FLOPs: {about}"
    last = max(s.resolution for s in all_strategies(params.scaling))
    base = params.scaling.stages[0].resolutions[0]
    yield f"Chosen    stored at {params.data.size} px, seen at {base} to {last} px"
    yield f"          {len(sizes)} sizes, each searched: S0 {_budget(params, 0)}, doubling"
    steps, shared = params.retrain.recipe.steps, params.supernet.recipe.steps
    passes = steps * params.retrain.recipe.batch / counts["train"]
    budget = _budget(params, largest)
    yield f"          to S{largest} {budget}; {shared:,} steps together, then"
    yield f"          {steps:,} for S0, {passes:.1f} times over the images, more for larger ones"
    if wish.start:
        yield f"          starting from {wish.start.folder}, which saw {wish.start.saw}"
    yield from _minutes(design.seconds)
    beside = ": stages run side by side" if design.wall < sum(design.seconds.values()) else ""
    yield f"          {design.wall / 60:.1f} in all, of {wish.minutes:g}{beside}"
    if params.baselines.residual:
        yield "          half the work measures baselines; --no-residual gives it to members"
    for warning in warnings(seen, wish.minutes, design, rates):
        yield f"Warning   {warning}"


def warnings(seen: Seen, minutes: float, design: Design, rates: Rates) -> Iterator[str]:
    """Yield what a user should know before the run."""
    params, counts = design.params, design.shares.counts
    last = max(s.resolution for s in all_strategies(params.scaling))
    smaller = float(np.mean(seen.sides < last))
    yield from _source(seen, minutes)
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
    yield from _drawn(seen, design.shares)
    yield from _scarce(seen, counts["train"] / sum(seen.free))
    if max(seen.counts) > UNEVEN * min(seen.counts):
        yield "classes are uneven: top-1 accuracy is mostly that of the large ones"
    if params.baselines.pretrained:
        yield f"transfer from {params.baselines.pretrained.model} comes on top: it was not timed"
    if slowed(rates):
        yield f"the minutes are those of now{slowed(rates)}"


def _scarce(seen: Seen, share: float) -> Iterator[str]:
    """Yield which classes have few images to train on, about a ``share`` of those to draw from."""
    each = {n: count * share for n, count in zip(seen.classes, seen.free, strict=True)}
    scarce = sorted((name for name in each if each[name] < SCARCE), key=each.__getitem__)
    if scarce:
        which = f"class {names.few(scarce)} has"
        if len(scarce) > 1:
            which = f"{len(scarce):,} of {len(each):,} classes ({names.few(scarce, 3)}) have"
        least = f"{'' if len(scarce) == 1 else 'from '}about {each[scarce[0]]:.0f} images"
        yield f"{which} {least} to train on; a few more would help most"


def _source(seen: Seen, minutes: float) -> Iterator[str]:
    """Yield what may be wrong with the source as a whole."""
    if seen.unmarked:
        yield UNMARKED
    yield from names.doubtful(seen.classes)
    brightest = seen.sample.max((1, 2, 3))
    for said in almost_black(int((brightest <= DARK).sum()), len(brightest), int(brightest.max())):
        yield f"of those looked at, {said}"
    if seen.square < CUT:
        yield (
            f"half of the images have one side at least {1 / seen.square:.1f} times the other, and "
            f"only their central square is used, {seen.square:.0%} of such an image or less: if "
            "what they show may lie elsewhere, cut them into pieces, or pad them to squares"
        )
    if seen.inner:
        yield _nested(seen)
    if seen.reading > READ * 60 * minutes:
        yield (
            f"reading the images takes {seen.reading / 60:.1f} of the minutes, as all are decoded, "
            "however few are used: a source with a part of them leaves more time to train"
        )


def _nested(seen: Seen) -> str:
    """Say what classes hold folders of, which may be the classes, or things of several images."""
    first, *others = seen.inner.values()
    same = all(folders == first for folders in others)
    if same and not seen.given:
        return (
            f"every class holds the same folders ({names.few(first)}): if these are the "
            f"classes, and what is on top now ({names.few(list(seen.inner))}) are splits, call "
            "those train, val and test; else, if what is on top is no class either, give a table "
            "(--table, with what is on top now as --group)"
        )
    some = [f"{names.few([top])}: {names.few(found, 3)}" for top, found in seen.inner.items()]
    said = f"classes hold folders ({'; '.join(some[:2])}), whose images are all of the class above"
    said += ": if these folders are the classes, move them one level up, or give a table (--table)"
    if same or seen.grouped is not None:
        return said
    group = f"'^({'[^/]+/' * seen.depth}[^/]+)/'"
    return f"{said}; if each shows one thing, keep it in one split: --group {group}"


def _drawn(seen: Seen, shares: Shares) -> Iterator[str]:
    """Yield what chance may do to classes of few images, and to few groups."""
    if shares.every < SAFE:
        yield (
            f"some class may have no image in train by chance (in {1 - shares.every:.0%} of draws):"
            " `scalenet run` then names a data.seed that leaves every class some"
        )
    about = "" if shares.exact or "test" in seen.given else "about "
    if shares.untested >= 1:
        yield (
            f"{about}{shares.untested:,.0f} of {len(seen.classes):,} classes will have no image in "
            "test: nothing will be known of them"
        )
    if shares.groups and shares.groups["test"] and shares.tested < MANY:
        yield few_groups(shares.tested)


def _interval(count: int) -> float:
    """Return half the width, in points, of the 95 % interval of an accuracy of 80 %."""
    return 196 * math.sqrt(0.8 * 0.2 / max(1, count))


def _budget(params: Params, size: int) -> str:
    """Return a size's budget: 7.4 M FLOPs, 3.1 ms."""
    target, unit = params.scaling.target(size), measure(params.scaling).unit
    flops = params.scaling.measure == "flops"
    return f"{short(round(target)) if flops else f'{target:.3g}'} {unit}"


def _minutes(seconds: dict[str, float]) -> Iterator[str]:
    each = ", ".join(f"{stage}\N{NO-BREAK SPACE}{took / 60:.1f}" for stage, took in seconds.items())
    for number, line in enumerate(textwrap.wrap(each, NARROW)):
        yield f"{'' if number else 'Minutes':9} " + line.replace("\N{NO-BREAK SPACE}", " ")
