"""docs/reliability.md says what the results say, and a trial's damage is damage."""

from __future__ import annotations

import random
import sys

import pytest

from bench.faults import kills, report, soak
from bench.faults.damage import CLASSES, damaged


@pytest.mark.parametrize("kind", CLASSES)
def test_damage_always_changes_the_bytes(kind):
    for seed in range(50):
        content = random.Random(seed).randbytes(1 + seed % 9)
        assert damaged(content, kind, random.Random(seed)) != content


def test_the_page_counts_what_was_tried_and_names_what_was_lost(tmp_path):
    one = {"trial": "kills:7", "commit": "0123456789ab", "seconds": 1, "promise": "bytes"}
    found = [one | {"tried": 6, "lost": []}, one | {"tried": 4, "lost": ["dvc.lock"]}]
    report.write(found, tmp_path / "page.md")
    page = (tmp_path / "page.md").read_text()
    [row] = [line for line in page.splitlines() if line.startswith("| After any kill")]
    assert row.endswith("| 10 | 1 |") and "- `kills:7` (bytes): dvc.lock" in page
    assert "| not yet | not known |" in page, "what was not tried is not said to hold"


def test_the_page_counts_each_thing_that_was_lost_and_what_the_kills_met(tmp_path):
    one = {"trial": "damage:3", "commit": "0123456789ab", "seconds": 1, "promise": "cache"}
    met = ["worker, search", "worker, no stage", "Ctrl-C, retrain"]
    found = [one | {"tried": 90, "lost": ["a", "b"], "met": met}]
    report.write([*found, one | {"tried": 0, "lost": ["hung"]}], tmp_path / "page.md")
    page = (tmp_path / "page.md").read_text()
    [row] = [line for line in page.splitlines() if "flipped bit in DVC's cache" in line]
    assert row.endswith("| 90 | 3 |")
    assert "2 met a stage that was under way" in page


STAGE = """
import time
def work(seconds):
    while time.process_time() < seconds: pass
work(0.3)
print("supernet: begins", flush=True)
work(30)
"""


def test_a_kill_meets_a_stage_however_long_the_start_takes(tmp_path):
    """Its instant is counted from the first stage's beginning, but for one kill in four."""
    met = []
    for seed in range(4):
        draws = random.Random(seed)
        victim = kills._killed(tmp_path, (sys.executable, "-c", STAGE), draws, seconds=1)
        met.append(victim.met.partition(", ")[2])
        assert victim.left == []
    assert met.count("supernet") >= 2 and set(met) <= {"supernet", "no stage"}


def test_the_page_is_that_of_the_results(tmp_path):
    report.write(report.read(), tmp_path / "page.md")
    assert (tmp_path / "page.md").read_text() == report.PAGE.read_text()


@pytest.mark.parametrize(
    ("last", "grown"),
    [
        ({"memory": 540}, []),
        ({"memory": 630}, ["memory: 500, then 630"]),
        ({"left": 1}, ["left: 0, then 1"]),
    ],
)
def test_a_soak_names_what_grew(last, grown):
    """A tenth more is noise; one process that is left over is not."""
    first = soak.Used(30, 500, 90, 4, 120, 0, 0)
    found = soak.outcome([first] * 4 + [first._replace(**last)] * 2)
    assert found.tried == 6 and found.lost == grown


def test_a_soak_of_a_few_families_says_nothing():
    found = soak.outcome([soak.Used(30, 500, 90, 4, 120, 0, 0)] * 5)
    assert found.tried == 0 and "5 families" in found.lost[0]
