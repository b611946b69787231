"""Is it any good? Members against baselines and against smaller members, on the same images."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations
from typing import Any

import numpy as np
from scipy import special

from scalenet.laws import scores
from scalenet.laws.choice import leader
from scalenet.laws.intervals import Prediction, mcnemar, paired, worth
from scalenet.records import predictions
from scalenet.records.documents import Baseline, Comparison, Trained
from scalenet.records.predictions import Answers, Predictions
from scalenet.records.written import percent


def against(first: Predictions, second: Predictions, confidence: float) -> tuple[Prediction, float]:
    """Return the first's accuracy less the second's, on the same images, and McNemar's p-value."""
    differences = first.right.astype(int) - second.right
    share = worth(differences, first.groups, confidence)
    counts = ((differences > 0).sum(), (differences < 0).sum(), len(differences))
    differ = paired(*(share * int(count) for count in counts), confidence)
    return differ, mcnemar(first.by_group(differences))


def comparisons(
    members: Sequence[Trained], baselines: Sequence[Baseline], said: Answers
) -> list[Comparison]:
    """Compare every member with every baseline on test."""
    made = []
    for trained in members:
        for baseline in baselines:
            name, other = trained.member.name, baseline.name
            differ, p = against(said[name]["test"], said[other]["test"], trained.confidence)
            about = {"difference": differ.value, "low": differ.low, "high": differ.high, "p": p}
            made.append(Comparison(member=name, baseline=other, **about))
    return made


def warnings(
    members: Sequence[Trained],
    baselines: Sequence[Baseline],
    compared: Sequence[Comparison],
    law: dict[str, Any] | None,
    said: Answers,
) -> list[str]:
    """Say in sentences which members are no good or no better, and of what nothing can be said."""
    known = {baseline.name: baseline for baseline in baselines}
    found = [] if all(trained.select for trained in members) else [UNKNOWN]
    for trained in members:
        of_it = [c for c in compared if c.member == trained.member.name]
        sentences = (
            one_class(trained, said) or guessing(trained, said),
            worse(trained, of_it, known),
            dominated(trained, members, said),
        )
        found += [sentence for sentence in sentences if sentence]
    of_all = (alike(leader(members), members, said), of_law(members, law, said))
    return found + [sentence for sentence in of_all if sentence]


UNKNOWN = (
    "the members were trained on select too (retrain.use_select), so they cannot be compared on "
    "it; the test alone is left, which is no place to choose"
)


def one_class(trained: Trained, said: Answers) -> str | None:
    """Say that a member calls every test image the same, if it does."""
    test = said[trained.member.name]["test"]
    if len(np.unique(test.predicted)) > 1 or len(np.unique(test.labels)) == 1:
        return None
    return f"{trained.member.name} predicts one and the same class for every test image"


def guessing(trained: Trained, said: Answers) -> str | None:
    """Say that a member's answers to test may as well be guesses, if they may."""
    test = said[trained.member.name]["test"]
    if not guesses(test, trained.confidence):
        return None
    often = majority(test).right.mean()
    return (
        f"{trained.member.name} is not told apart from guessing on test: "
        f"{percent(trained.accuracy)}, and {percent(often)} by calling every image the same; "
        "it has learnt too little, test is too small to tell, or labels say nothing of the images"
    )


def majority(said: Predictions) -> Predictions:
    """Return the answers of who calls every image what most of them are."""
    often = np.bincount(said.labels).argmax()
    return predictions.answers(said.labels, np.full_like(said.labels, often))


def guesses(said: Predictions, confidence: float) -> bool:
    """Tell whether answers are no better than naming the largest class, beyond noise. Of images
    of one class alone nobody can tell."""
    if len(np.unique(said.labels)) == 1:
        return False
    above, _ = against(said, majority(said), confidence)
    return above.low <= 0 and not _tells_classes_apart(said, confidence)


def _tells_classes_apart(said: Predictions, confidence: float) -> bool:
    """Tell whether the mean recall of the classes is above chance beyond noise.

    Where one class has most images, a good classifier may be right no more often than one that
    names it always, whose mean recall is that of chance. Each class's images count as far as its
    own groups let them: a class of one group tells nothing of the next group.
    """
    _, recalls = scores.recall(said, int(said.labels.max()) + 1)
    there = np.unique(said.labels)
    images = np.array([_counting(said, label, confidence) for label in there])
    recalls = recalls[there]
    shares = (images * recalls + 1) / (images + 2)  # no recall of few images is certain
    noise = np.sqrt((shares * (1 - shares) / images).sum()) / len(images)
    return bool(recalls.mean() - special.ndtri((1 + confidence) / 2) * noise > 1 / len(images))


def _counting(said: Predictions, label: int, confidence: float) -> float:
    """Return how many images of a class count, where those of a group are alike."""
    of = said.labels == label
    groups = None if said.groups is None else said.groups[of]
    return float(of.sum()) * worth(said.right[of], groups, confidence)


def worse(
    trained: Trained, compared: Sequence[Comparison], known: dict[str, Baseline]
) -> str | None:
    """Say which baseline is furthest above a member on test, if one is."""
    lowest = min(compared, key=lambda c: c.difference, default=None)
    if lowest is None or lowest.difference >= 0:
        return None
    other = known[lowest.baseline]
    found = Prediction(lowest.difference, lowest.low, lowest.high, trained.confidence)
    return (
        f"{trained.member.name} is worse than a baseline on test: {percent(trained.accuracy)}, "
        f"and {percent(other.accuracy)} by {other.about}; "
        f"{_difference(found, lowest.p)}"
    )


def dominated(trained: Trained, members: Sequence[Trained], said: Answers) -> str | None:
    """Say which smaller member is best on select, if it is better there than this one.

    Smaller is what spends less of its budget: FLOPs, or milliseconds.
    """
    smaller = [t for t in members if t.member.spent < trained.member.spent and t.select]
    best = max(smaller, key=lambda t: t.select.accuracy, default=None)
    if best is None or not trained.select or best.select.accuracy <= trained.select.accuracy:
        return None
    name, other = trained.member.name, best.member.name
    kind = "smaller" if best.member.latency is None else "quicker"
    differ, p = against(said[name]["select"], said[other]["select"], trained.confidence)
    return (
        f"{name} is dominated by {other}, which is {kind} and better on select: "
        f"{percent(trained.select.accuracy)} and {percent(best.select.accuracy)}; "
        f"{_difference(differ, p)}"
    )


def alike(best: Trained, members: Sequence[Trained], said: Answers) -> str | None:
    """Say which smaller member is the smallest that select does not tell apart from the best one.

    Of equally good members the best one is mostly a larger one, by an image or two.
    """
    name, unit = best.member.name, "FLOPs" if best.member.latency is None else "milliseconds"
    for other in sorted(members, key=lambda t: t.member.spent):
        share = other.member.spent / best.member.spent
        if share >= 1 or not (best.select and other.select):
            continue
        answers = (said[one]["select"] for one in (other.member.name, name))
        differ, p = against(*answers, best.confidence)
        if p >= 1 - best.confidence:
            return (
                f"{other.member.name}, at {share:.0%} of the {unit} of {name}, is not told "
                f"apart from it on select: {_difference(differ, p)}"
            )
    return None


def of_law(members: Sequence[Trained], law: dict[str, Any] | None, said: Answers) -> str | None:
    """Say why the accuracy law is not to be believed, if the members do not grow as it has it.

    The law takes larger members for better, by less and less. All pairs of members are compared,
    so the level is divided among them; the best one is above what the law expects of a larger
    budget if the whole interval of its accuracy is.
    """
    if law is None:
        return None
    pairs = [(a, b) for a, b in permutations(members, 2) if a.member.spent < b.member.spent]
    for smaller, larger in pairs:
        name, other = larger.member.name, smaller.member.name
        differ, p = against(said[name]["test"], said[other]["test"], larger.confidence)
        if differ.value < 0 and p < (1 - larger.confidence) / len(pairs):
            return (
                f"{name} is worse than {other} on test beyond noise, and the accuracy law takes "
                "larger members for better: what it expects of others says nothing"
            )
    best = max(members, key=lambda t: t.accuracy)
    name, reached = best.member.name, best.accuracy
    for at in law["next"]:
        if at["multiple"] > best.member.multiple and best.low > at["value"]:
            return (
                f"the accuracy law expects {percent(at['value'])} at {at['multiple']:g} x the "
                f"base budget, and {name} reached {percent(reached)}, beyond noise: these "
                "members do not grow as the families that it knows do"
            )
    return None


def _difference(found: Prediction, p: float) -> str:
    """Return a difference in points with its interval, and whether McNemar's test sees it."""
    noise = "beyond noise" if p < 1 - found.confidence else "within noise"
    interval = f"{found.confidence:.0%} interval {100 * found.low:+.1f} to {100 * found.high:+.1f}"
    return f"{100 * found.value:+.1f} points, {interval}, McNemar p {p:.2g}: {noise}"
