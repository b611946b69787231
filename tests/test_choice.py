"""Which member is picked, and why: by select, never by test."""

from __future__ import annotations

import pytest

from scalenet.laws.choice import Limits, choose
from scalenet.records.documents import Member, Score, Trained

NETWORK = "r8-stem_k3_s1_c8-ir_k3_s2_e4_c16-head_c64-se0.25e-hard_swish"


def trained(name: str, flops: int, select: int | None, test: int = 50) -> Trained:
    """Return a member that labels so many of 100 images right."""
    member = Member(
        name=name, multiple=1, budget=flops, origin="searched", base="k3e4",
        scaling="d1-w1-r8", network=NETWORK, flops=flops, params=flops // 10,
    )  # fmt: skip
    score = None if select is None else Score(correct=select, tested=100, accuracy=select / 100)
    return Trained(
        member=member, data="d", weights="w", correct=test, tested=100, accuracy=test / 100,
        low=0.4, high=0.6, confidence=0.95, balanced=0.5, select=score,
    )  # fmt: skip


FAMILY = [trained("S0", 1000, 80, 90), trained("S1", 2000, 84, 70), trained("S2", 4000, 83, 99)]


def picked(family=FAMILY, latency=lambda trained: trained.member.flops / 1000, **limits):
    return choose(family, Limits(**limits), latency)


def test_select_decides_not_size_and_not_test():
    assert picked().chosen.member.name == "S1"
    assert picked(flops=1500).chosen.member.name == "S0"
    assert picked(params=150).chosen.member.name == "S0"
    assert picked(milliseconds=1.5).chosen.member.name == "S0"


def test_of_equals_the_smallest():
    family = [trained("S1", 2000, 84), trained("S0", 1000, 84), trained("S2", 4000, 84)]
    assert picked(family).chosen.member.name == "S0"


def test_others_say_why_they_were_not():
    choice = picked(flops=2000, accuracy=0.82)
    assert choice.within == 1 and choice.chosen.member.name == "S1"
    assert choice.refused == {"S0": "labels 80.0 % of select right", "S2": "has 4,000 FLOPs"}


def test_latency_is_measured_only_where_it_is_limited_and_once():
    asked = []

    def latency(trained):
        asked.append(trained.member.name)
        return 1.0

    picked(latency=latency)
    assert asked == []
    picked(latency=latency, milliseconds=2, flops=2000)
    assert asked == ["S0", "S1"]


def test_limits_that_nothing_keeps_say_what_there_is():
    with pytest.raises(ValueError, match=r"no member.*S0 has 1,000 FLOPs; S1 .*other limits"):
        picked(flops=10)


def test_members_that_saw_select_are_not_compared_by_it():
    with pytest.raises(ValueError, match=r"S1 was trained on select.*use_select"):
        picked([FAMILY[0], trained("S1", 2000, None)])


def test_beside_the_milliseconds_of_this_machine_are_those_that_the_family_was_planned_by():
    with pytest.raises(ValueError, match=r"S0 takes 1\.00 ms on this machine; S1 "):
        picked(milliseconds=0.5)
    planned = FAMILY[0].member.model_copy(update={"latency": 0.4224})
    with pytest.raises(ValueError, match=r"S0 takes 1\.00 ms on this machine \(0\.422 device ms\)"):
        picked([FAMILY[0].model_copy(update={"member": planned})], milliseconds=0.5)


def test_a_family_by_milliseconds_is_picked_from_by_those_of_its_device():
    family = [
        one.model_copy(update={"member": one.member.model_copy(update={"latency": ms})})
        for one, ms in zip(FAMILY, (1.0, 2.0, 4.0), strict=True)
    ]
    choice = picked(family, device=1.5)
    assert choice.chosen.member.name == "S0" and choice.refused["S1"] == "takes 2 device ms"
    with pytest.raises(
        ValueError, match=r"--max-device-ms 1\.5: .*FLOPs, of no device; give --max"
    ):
        picked(device=1.5)
