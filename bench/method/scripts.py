"""What the scripts share: their options, the lab of a preset, and what they write."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from bench.method.lab import Lab, identity
from bench.speed.common import about, revision
from scalenet.config import params
from scalenet.config.params import Params
from scalenet.pipeline import settings
from scalenet.records import files
from scalenet.training import device

RESULTS = Path(__file__).parent / "results"
PLAIN = "plain evolution"  # the search that efficiency.py holds others against


def options(doc: str | None, **more: Any) -> argparse.Namespace:
    """Read a script's options, given as name=default, beside those of all."""
    parser = argparse.ArgumentParser(description=doc)
    parser.add_argument(
        "--preset", default="cifar10-cpu", help="a file of presets/; digits is params.yaml itself"
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE",
        help="change a parameter, as of the command line; data.name names the folder of results",
    )  # fmt: skip
    parser.add_argument("--seeds", type=count, default=3, help="trainings of each network")
    parser.add_argument("--workers", type=count, default=2, help="networks trained side by side")
    parser.add_argument(
        "--work", type=Path, default=Path("bench/work"), help="folder of what is made on the way"
    )
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the JSON files")
    for name, default in more.items():
        if isinstance(default, bool):
            parser.add_argument(f"--{name}", action="store_true")
        else:
            kind = count if isinstance(default, int) else type(default)
            parser.add_argument(f"--{name}", type=kind, default=default)
    return parser.parse_args()


def count(text: str) -> int:
    """Read an option that counts something."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} was given; give a whole number, 1 at least")
    return int(text)


def params_of(preset: str, changes: Iterable[str] = ()) -> Params:
    """Return the params of a preset with changes such as ``data.seed=1``."""
    content = params.read_yaml("params.yaml")
    if preset != content["data"]["name"]:
        settings.merge(content, params.read_yaml(settings.preset_path(Path.cwd(), preset)))
    for key, value in settings.pairs(changes, "--set").items():
        settings.assign(content, key, value)
    return params.parse(content)


def open_lab(chosen: argparse.Namespace) -> Lab:
    """Return the lab of a preset, its images prepared; end the script by a line on wrong ones."""
    revision()  # of the code that is loaded now, whatever is committed while it computes
    try:
        parsed = params_of(chosen.preset, chosen.set)
        # changed params are another lab
        root = chosen.work / f"{parsed.data.name}-{identity(parsed)}"
        files.write_bytes(root / "params.json", parsed.model_dump_json(indent=2).encode())
        return Lab(parsed, root, chosen.workers).prepared()
    except ValueError as error:
        raise SystemExit(str(error)) from error


def write(lab: Lab, chosen: argparse.Namespace, name: str, **content: Any) -> None:
    """Write a script's raw numbers with their command, code and machine."""
    on = str(device.prepare(lab.params.compute))
    head = {"command": command(name, sys.argv[1:])} | about(on) | {"data": lab.info.digest}
    if lab.trained_by:
        head["trained_by"] = sorted(lab.trained_by)
    files.write_json(chosen.results / lab.params.data.name / f"{name}.json", head | content)


def command(name: str, options: list[str]) -> str:
    """Return a script's command as one types it."""
    return shlex.join(["python", "-m", f"bench.method.{name}", *options])
