"""Try what is promised of faults, and write docs/reliability.md.

    python -m bench.faults [--tries 20] [--seed 0] [--only kills:7] [--work FOLDER]
    python -m bench.faults.soak [--minutes 60]

Trials that have a result are not tried again, so an interrupted run goes on where it was.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
from pathlib import Path

from bench.faults import damage, kills, report, rows
from bench.faults.kills import Outcome, Reference

KINDS = {"kills": kills.trial, "damage": damage.trial, "rows": rows.trial}


def main() -> None:
    """Try, note each outcome, and write the page."""
    given = _options()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # `nohup … &` would have it ignored
    work = given.work or Path(tempfile.mkdtemp(prefix="faults-"))
    known = report.read(given.results)
    tried = {result["trial"] for result in known}
    wanted = [given.only] if given.only else _trials(given.tries, given.seed)
    if left := [trial for trial in wanted if given.only or trial not in tried]:
        whole = kills.reference(work / "whole")
        print(f"an uninterrupted family uses {whole.seconds:.0f} s of a core", flush=True)
        for trial in left:
            known += _noted(trial, work, whole, given.results)
            report.write(known, given.page)
    report.write(known, given.page)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tries", type=int, default=25, help="families that are killed")
    parser.add_argument("--seed", type=int, default=0, help="that of the first trial")
    parser.add_argument("--only", metavar="KIND:SEED", help="one trial, again")
    parser.add_argument("--work", type=Path, help="a folder for the projects")
    parser.add_argument("--results", type=Path, default=report.RESULTS)
    parser.add_argument("--page", type=Path, default=report.PAGE)
    return parser.parse_args()


def _trials(tries: int, seed: int) -> list[str]:
    """Name the trials: the tests, then a family with damage after every third with kills."""
    named = ["rows:0"] if seed == 0 else []
    for number in range(seed, seed + tries):
        named.append(f"kills:{number}")
        if number % 3 == 0:
            named.append(f"damage:{number}")
    return named


def _noted(trial: str, work: Path, whole: Reference, file: Path) -> list[dict]:
    """Make a trial, and note what it says."""
    kind, _, seed = trial.partition(":")
    if kind not in KINDS or not seed.isdigit():
        sys.exit(f"--only {trial}: give one of {', '.join(KINDS)} and a seed, such as kills:7")
    begin = time.perf_counter()
    outcomes: list[Outcome] = KINDS[kind](work / f"{kind}-{seed}", int(seed), whole)
    about = {
        "trial": trial,
        "commit": report.commit(),
        "seconds": round(time.perf_counter() - begin),
    }
    results = [about | outcome._asdict() for outcome in outcomes]
    report.note(results, file)
    for outcome in outcomes:
        print(trial, outcome.promise, outcome.tried, *outcome.lost[:3], flush=True)
    return results


if __name__ == "__main__":
    main()
