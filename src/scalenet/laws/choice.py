"""Choosing a member to deploy: by its accuracy on select, within limits.

Test was asked once, so that its figure stays honest; a choice made by it would spend it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from scalenet.records.documents import Trained
from scalenet.records.written import percent


@dataclass(frozen=True)
class Limits:
    """What a deployed member may have at most, and its least accuracy on select; None: any.

    ``milliseconds`` are of one image, as the caller measures them, ``device`` those that the
    budgets of a family by milliseconds count.
    """

    flops: float | None = None
    params: float | None = None
    milliseconds: float | None = None
    device: float | None = None
    accuracy: float | None = None


@dataclass(frozen=True)
class Pick:
    """The member that is chosen, how many were within the limits, and why others were not."""

    chosen: Trained
    within: int
    refused: dict[str, str]


def choose(members: Sequence[Trained], limits: Limits, latency: Callable[[Trained], float]) -> Pick:
    """Return the member within the limits that labels most of select right, as `leader` does.

    ``latency`` gives a member's milliseconds; it is asked only if they are limited. ``ValueError``
    if nothing is within the limits, or members were trained on select.
    """
    for trained in members:
        if trained.select is None:
            raise ValueError(
                f"{trained.member.name} was trained on select (retrain.use_select: true), so "
                "nothing honest compares the members; set it to false and run again"
            )
    if limits.device is not None and any(t.member.latency is None for t in members):
        raise ValueError(
            f"--max-device-ms {limits.device:g}: the budgets of this family are FLOPs, of no "
            "device; give --max-flops, or --max-ms, which is of this machine"
        )
    refused = {t.member.name: _beyond(t, limits, latency) for t in members}
    refused = {name: why for name, why in refused.items() if why}
    within = [trained for trained in members if trained.member.name not in refused]
    if not within:
        reasons = "; ".join(f"{name} {why}" for name, why in refused.items())
        raise ValueError(f"no member is within the limits: {reasons}; give other limits")
    return Pick(leader(within), len(within), refused)


def leader(members: Sequence[Trained]) -> Trained:
    """Return the member that labels most of select right, of equals the one that spends least of
    its budget; the largest of all if they were trained on select."""
    known = [t for t in members if t.select]
    if known:
        return max(known, key=lambda t: (t.select.correct, -t.member.spent))
    return max(members, key=lambda t: t.member.multiple)


def _beyond(trained: Trained, limits: Limits, latency: Callable[[Trained], float]) -> str:
    """Say which limit a member does not keep; "" if it keeps all."""
    member, select = trained.member, trained.select
    if limits.flops is not None and member.flops > limits.flops:
        return f"has {member.flops:,} FLOPs"
    if limits.params is not None and member.params > limits.params:
        return f"has {member.params:,} parameters"
    if limits.accuracy is not None and select.accuracy < limits.accuracy:
        return f"labels {percent(select.accuracy)} of select right"
    if limits.device is not None and member.latency > limits.device:
        return f"takes {member.latency:.3g} device ms"
    if limits.milliseconds is not None and (took := latency(trained)) > limits.milliseconds:
        planned = f" ({member.latency:.3g} device ms)" if member.latency else ""
        return f"takes {took:.2f} ms on this machine{planned}"
    return ""
