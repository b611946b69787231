"""docs/reliability.md from the results: promise, test, number tried, number lost."""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from bench.faults import rows

RESULTS = Path(__file__).parent / "results.jsonl"
PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"
PROMISES = {  # by the name that trials give: the promise, and the short test of it
    "bytes": (
        "After any kill the next run gives, byte for byte, what an uninterrupted one gives, "
        "dvc.lock too",
        "test_pipeline.py, faults/test_damage.py",
    ),
    "finishes": (
        "No kill leaves a project that the same command does not finish",
        "faults/test_left_over.py",
    ),
    "alone": ("No process goes on after the run that began it was killed", "test_workers.py"),
    "remembered": (
        "Every candidate and every member is in MLflow once, and nothing seems to run for ever",
        "faults/test_mlflow_away.py, faults/test_left_over.py",
    ),
    "torn": ("Nothing half written is left in the artifacts", "faults/test_left_over.py"),
    "flat": (
        "A family uses what those before it in the project used: processor time, memory, handles, "
        "processes, files, and nothing is left over",
        "faults/test_promises.py",
    ),
    "cache": (
        "A flipped bit in DVC's cache is named by `scalenet doctor --deep`",
        "faults/test_doctor.py",
    ),
    "made": (
        "A damaged file below `artifacts/` (a flipped bit, a cut, nothing) is restored or made "
        "again, byte for byte",
        "faults/test_damage.py",
    ),
    "state": (
        "A damaged checkpoint or journal is set aside and never changes a result",
        "faults/test_damage.py",
    ),
    **{name: (text, ", ".join(tests)) for name, (text, tests) in rows.ROWS.items()},
}
HEAD = """\
# Reliability

What is promised of faults, how often it was tried, and how often it did not hold. Written by
`python -m bench.faults` (preset tiny, one thread a process) from `bench/faults/results.jsonl`,
which names the seed and the commit of every trial; `--only kills:7` tries one again, and
`--tries N` tries more. The last rows count the cases of the tests themselves, their long versions
included.

| promise | tests | tried | lost |
|---|---|---:|---:|
"""


def write(results: Iterable[Mapping[str, Any]], page: Path = PAGE) -> None:
    """Write the page of all results."""
    results = list(results)
    table, losses = [], []
    for promise, (text, test) in PROMISES.items():
        mine = [r for r in results if r["promise"] == promise]
        tried, lost = sum(r["tried"] for r in mine), sum(len(r["lost"]) for r in mine)
        count = f"{tried:,} | {lost:,}" if tried or lost else "not yet | not known"
        table.append(f"| {text} | {test} | {count} |")
        losses += [_loss(result) for result in mine if result["lost"]]
    commits = ", ".join(f"`{c}`" for c in dict.fromkeys(r["commit"][:9] for r in results))
    tried_on = f"Tried on {commits}." if results else "Nothing was tried yet."
    text = HEAD + "\n".join(table) + f"\n\n{tried_on}\n"
    text += (
        "\n## What was lost\n\n"
        + ("\n".join(losses) if losses else "Nothing of what was tried.")
        + "\n"
    )
    page.write_text(text + _met(results) + _soaked(results) + _known())


def _loss(result: Mapping[str, Any]) -> str:
    """Say in a line what was lost, and why if that is known."""
    why = f". {result['why']}" if result.get("why") else ""
    return f"- `{result['trial']}` ({result['promise']}): {'; '.join(result['lost'])[:400]}{why}"


def _met(results: list[Mapping[str, Any]]) -> str:
    """Tabulate what the kills met: processes by stages that were under way."""
    met = Counter(tuple(one.split(", ")) for r in results for one in r.get("met", ()))
    rows = [f"| {how} | {stages} | {count} |\n" for (how, stages), count in sorted(met.items())]
    within = sum(count for (_, stages), count in met.items() if stages != "no stage")
    return (
        f"\n## What {met.total()} kills met\n\n"
        f"{within} met a stage that was under way; the others a command that was starting, that "
        "compared what there is, or that wrote down what a stage had made.\n\n"
        "| killed | while under way | kills |\n|---|---|---:|\n" + "".join(rows)
    )


def _soaked(results: list[Mapping[str, Any]]) -> str:
    """Tabulate what the first and the last families of each soak used."""
    text = ""
    for result in results:
        if used := result.get("used"):
            rows = [f"| {name} | {one:,} | {other:,} |\n" for name, (one, other) in used.items()]
            text += (
                f"\n## {result['tried']} families in a row, {result['seconds'] / 60:.0f} minutes\n"
                "\n| at most, of a family | first third | last third |\n|---|---:|---:|\n"
                + "".join(rows)
            )
    return text


def _known() -> str:
    return (
        "\n## What no test can promise\n\n"
        "- `dvc repro` reads params and inputs once more after a stage has ended. A stage compares "
        "them as its last act; what is edited in the milliseconds between is locked as if it had "
        "been used. `scalenet run` has no such gap but its own commit's.\n"
        "- DVC writes `dvc.lock` and its list of locks in place: a kill within such a write leaves "
        "a file that `dvc` refuses from then on. `scalenet run` sets it aside and goes on.\n"
        "- A file that is edited and put back with its size and time of change is not seen: DVC "
        "knows files by these, too.\n"
        "- A replay of a seed meets the same draws; the instruction that a kill meets is the "
        "machine's.\n"
    )


def commit() -> str:
    """Return the commit that is tried, and whether the code differs from it."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def note(results: Iterable[Mapping[str, Any]], file: Path = RESULTS) -> None:
    """Add results to those there are."""
    with file.open("a") as lines:
        lines.writelines(json.dumps(result) + "\n" for result in results)


def read(file: Path = RESULTS) -> list[dict[str, Any]]:
    """Return the results there are."""
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
