"""Tables of networks that nobody trained, whose truth is known: for tests and toy runs."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

Row = dict[str, Any]

FAMILIES = """\
kind: families
family: [name]
flops: {column: gmacs, unit: 1.0e+9}
accuracy: {column: top1, unit: 0.01}
tested: 50000
lineages: {Grand: Great}
"""
NETWORKS = """\
kind: networks
choices: [layers]
digits: true
flops: {column: mmacs, unit: 1.0e+6}
accuracy: [first, second]
unit: 0.01
same: [first, second, mmacs]
"""


def invented_families(
    lineages: Iterable[str],
    exponent: float = 0.5,
    floor: float = 0.6,
    members: int = 5,
    noise: float = 0.1,
) -> Iterator[Row]:
    """Yield rows of two families a lineage whose laws are known, but for noise in points."""
    rng = np.random.default_rng(7)
    for lineage, letter in product(lineages, "ab"):
        errors, most = rng.uniform(20, 35), exponent * np.exp(0.2 * rng.standard_normal())
        share = floor + 0.08 * rng.standard_normal()
        for i in range(members):
            left = errors * (share + (1 - share) * 2.0 ** (-most * i))
            top1 = 100 - left + noise * rng.standard_normal()
            yield {"name": f"{lineage} {letter}", "gmacs": 0.1 * 2**i, "top1": round(top1, 2)}


def invented_networks(positions: int = 4) -> Iterator[Row]:
    """Yield rows of every network of three choices a layer; more is better, and costs more."""
    rng = np.random.default_rng(8)
    for layers in product(range(3), repeat=positions):
        worth = 70 + 2 * np.sum(np.sqrt(layers)) + layers[0] * layers[1]
        row = {"layers": "".join(map(str, layers)), "mmacs": 5 + sum(layers)}
        yield row | {name: worth + 0.1 * rng.standard_normal() for name in ("first", "second")}


def lay(folder: Path, name: str, rows: Iterable[Row], schema: str | None) -> None:
    """Write a table and, unless None, its schema."""
    rows = list(rows)
    with (folder / f"{name}.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    if schema:
        (folder / f"{name}.schema.yaml").write_text(schema)
