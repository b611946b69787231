"""What is promised and tried by tests: all of their cases, the long ones too.

A test that tries more than one thing says how many (``record_property("tried", n)``).
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from xml.etree import ElementTree

from bench.faults.kills import Outcome, Reference

ROOT = Path(__file__).parents[2]
ROWS: dict[str, tuple[str, tuple[str, ...]]] = {  # name: the promise, and the tests that try it
    "edited": (
        "Params, code or data that are edited while a stage runs are never locked as if used",
        ("faults/test_edited.py",),
    ),
    "archives": (
        "A damaged archive is refused, or holds what was packed",
        ("faults/test_archives.py",),
    ),
    "pixels": (
        "Pixels that cannot be read right are refused, or counted and named",
        ("test_pixels.py", "faults/test_hostile.py"),
    ),
    "database": (
        "A store that is half made, damaged, locked or of another version is named or mended",
        ("test_tracking.py", "faults/test_places.py"),
    ),
    "away": (
        "MLflow or Prefect gone: computing goes on, and what is to be told is told once",
        ("faults/test_mlflow_away.py", "test_terminal.py"),
    ),
    "once": (
        "Two of one stage, one family registered twice at once: each thing once",
        ("faults/test_at_once.py", "faults/test_left_over.py"),
    ),
    "nobody": (
        "No secret is written anywhere, no page answers another user",
        ("faults/test_credentials.py", "test_serve.py"),
    ),
    "params": (
        "Any params are taken or refused in lines that name the key, quickly, in little memory",
        ("faults/test_numbers.py", "faults/test_documents.py"),
    ),
    "memory": (
        "Memory that runs out is a line, or another way to the same bits",
        ("faults/test_memory.py",),
    ),
}


def trial(folder: Path, seed: int, whole: Reference) -> list[Outcome]:
    """Run the tests of each promise; whatever the seed, they are the same."""
    return [Outcome(name, *_tried(tests)) for name, (_, tests) in ROWS.items()]


def _tried(tests: tuple[str, ...]) -> tuple[int, list[str]]:
    """Return how much tests tried, and the names of those that fail."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "found.xml"
        options = ["-q", "-m", "long or not long", f"--junit-xml={file}"]
        files = [str(ROOT / "tests" / test) for test in tests]
        command = [sys.executable, "-m", "pytest", *options, *files]
        subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL, check=False)
        if not file.exists():
            return 0, [f"{' '.join(tests)}: pytest found nothing"]
        cases = list(ElementTree.parse(file).iter("testcase"))
    ran = [case for case in cases if case.find("skipped") is None]
    lost = [
        case for case in ran if case.find("failure") is not None or case.find("error") is not None
    ]
    return sum(map(_count, ran)), [f"{c.get('classname')}::{c.get('name')}" for c in lost]


def _count(case: ElementTree.Element) -> int:
    told = {entry.get("name"): entry.get("value") for entry in case.iter("property")}
    return int(told.get("tried") or 1)
