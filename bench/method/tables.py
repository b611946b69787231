"""The project's laws and searches on public tables of trained networks: no training at all.

    python -m bench.method.tables --tables DIR

DIR holds CSV files; bench/method/tablefiles.py says how a schema file beside each describes its
columns. Tables of families try the accuracy law (bench/method/tablelaws.py), with a prior learnt
from families of other lineages; what all of them teach is printed as ``publish.prior``. Tables of
networks try the searches (bench/method/tablesearch.py), within two budgets.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from statistics import median
from typing import Any

from bench.method import priors, scripts, tablefiles, tablelaws, tablesaid
from bench.method.tablefiles import Contents, Networks, Published
from bench.speed.common import about
from scalenet.config import params as config
from scalenet.config.params import Params
from scalenet.records import files

BUDGETS = (0.5, 1.0)  # shares of a table's networks that a search may choose from, the cheapest


def all_families(tables: dict[str, Contents]) -> list[Published]:
    """Return the families of every table; one that two tables hold counts once."""
    every = [family for table in tables.values() if isinstance(table, list) for family in table]
    return list({family.members: family for family in reversed(every)}.values())


def laws(tables: dict[str, Contents], params: Params) -> dict[str, Any]:
    """Try the accuracy law on each table of families."""
    known = all_families(tables)
    return {
        name: tablelaws.compare(table, known, params.publish)
        for name, table in tables.items()
        if isinstance(table, list)
    }


def prior(tables: dict[str, Contents], params: Params) -> dict[str, Any] | None:
    """Return what all families teach; None from too few lineages."""
    families = priors.teaching(all_families(tables))
    if len({family.lineage for family in families}) < priors.LINEAGES:
        return None
    return priors.learn(families, params.publish.prior).model_dump()


def searches(
    tables: dict[str, Contents], params: Params, seeds: int, evaluations: int
) -> tuple[dict[str, Any], dict[str, str]]:
    """Try the searches on each table of networks, within each budget.

    Return what was found, and why tables that cannot be searched were not.
    """
    found, refused = {}, {}
    for name, table in tables.items():
        if not isinstance(table, Networks):
            continue
        try:
            from bench.method import tablesearch, tablespace  # pymoo is an extra

            found[name] = {
                str(share): tablesearch.compare(
                    tablespace.within(table, share), params, seeds, evaluations
                )
                for share in BUDGETS
            }
        except ModuleNotFoundError as error:
            refused[name] = f"{error}: pip install -e '.[bench]'"
        except ValueError as error:
            refused[name] = str(error)
    return found, refused


def show(found: dict[str, Any], families: list[Published]) -> None:
    """Print the errors in points, and the median evaluations to evolution's score."""
    for table, compared in found["laws"].items():
        for name, rows in compared["summary"].items():
            print(f"{table}: {name}" if rows else f"{table}: {name}: {tablelaws.NONE}")
            for row in rows:
                inside = f", {row['inside']} inside" if "inside" in row else ""
                print(
                    f"  first {row['fitted']}, {row['ahead']} ahead: "
                    f"{100 * row['mean_error']:.2f} points over {row['families']} families{inside}"
                )
    print("learnt from all:", found["prior"] or tablesaid.untaught(families))
    for table, budgets in found["searches"].items():
        for share, compared in budgets.items():
            print(f"{table}: the cheapest {float(share):.0%}, {compared['networks']} networks")
            for name, reached in compared["reached"].items():
                print(f"  {name:45} {middle(reached, compared['evaluations'])}")
    for table, reason in found["refused"].items():
        print(f"{table}: not searched: {reason}")


def introduce(tables: dict[str, Contents]) -> None:
    """Say what was read of each table, and what is doubtful."""
    for name, table in tables.items():
        print(tablesaid.about(name, table), flush=True)
        if said := tablesaid.doubt(name, table):
            print(f"warning: {said}", file=sys.stderr)


def middle(reached: list[int | None], evaluations: int) -> str:
    """Write the median number of evaluations; a search that never got there counts as more."""
    value = median(evaluations + 1 if n is None else n for n in reached)
    never = sum(n is None for n in reached)
    text = f"over {evaluations}" if value > evaluations else f"{value:g}"
    return text + (f" (never with {never} of {len(reached)} seeds)" if never else "")


def count(text: str) -> int:
    """Read a number of runs or of evaluations."""
    if not (text.isdecimal() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"should be a whole number from 1, given {text!r}")
    return int(text)


def options() -> argparse.Namespace:
    """Read the script's options."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tables", type=Path, required=True, help="folder of CSV files")
    parser.add_argument(
        "--schemas",
        type=Path,
        default=tablefiles.SCHEMAS,
        help="folder of NAME.schema.yaml files, for tables that have none beside them",
    )
    parser.add_argument("--seeds", type=count, default=20, help="runs of each search")
    parser.add_argument("--evaluations", type=count, default=400, help="that a search may make")
    parser.add_argument("--results", type=Path, default=scripts.RESULTS, help="folder of the JSON")
    return parser.parse_args()


def main() -> None:
    """Try everything on every table; write the raw numbers."""
    chosen, params = options(), config.load("params.yaml")
    try:
        tables = tablefiles.read(chosen.tables, chosen.schemas)
        introduce(tables)
        found = {
            "laws": laws(tables, params),
            "prior": prior(tables, params),
        }
    except ValueError as error:
        raise SystemExit(str(error)) from error
    found["searches"], found["refused"] = searches(tables, params, chosen.seeds, chosen.evaluations)
    show(found, all_families(tables))
    said = ["--tables", chosen.tables.resolve().name, "--seeds", str(chosen.seeds)]
    said += ["--evaluations", str(chosen.evaluations)]
    head = {"command": scripts.command("tables", said), "seeds": chosen.seeds} | about("cpu")
    chosen.results.mkdir(parents=True, exist_ok=True)
    files.write_json(chosen.results / "tables.json", head | found)


if __name__ == "__main__":
    main()
