"""The command line: ``python -m pipeline {stage,family,params,register,show,ui}``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import yaml

from scalenet.pipeline import REFUSED, UNAVAILABLE, Unavailable, home, warm

WARM = ("stage", "family", "register", "show", "deliver", "export")  # run by the warm process
SERVED = ("stage", "family")  # flows: a Prefect server is wanted


def parser() -> argparse.ArgumentParser:
    """Describe the commands."""
    top = argparse.ArgumentParser(prog="python -m pipeline", description="ScaleNet as a workflow pipeline.")
    commands = top.add_subparsers(dest="command", required=True)
    stage = commands.add_parser("stage", help="run one stage as a Prefect flow (what dvc.yaml calls)")
    stage.add_argument("name")
    stage.add_argument("member", nargs="?", help="family member, for stage retrain")
    for name, what in (("family", "run the whole graph as one Prefect flow"), ("params", "change params.yaml")):
        command = commands.add_parser(name, help=what)
        command.add_argument("--preset", help="a file of presets/, without .yaml")
        command.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a params.yaml key")
        if name == "family":
            command.add_argument("--target", help="the last stage wanted, such as search or retrain@S2")
    commands.add_parser("register", help="put the members that lie here (after dvc pull) into the model registry")
    commands.add_parser("show", help="print the family")
    commands.add_parser("deliver", help="what a search starts to log its candidates").add_argument("target", nargs="*")
    export = commands.add_parser("export", help="what publishing starts to store a member's program")
    for name in ("root", "member", "model"):
        export.add_argument(name)
    commands.add_parser("ui", help="open MLflow and Prefect over this folder's results")
    return top


def overrides(pairs: list[str]) -> dict[str, Any]:
    """Read KEY=VALUE pairs; values are YAML."""
    wrong = [pair for pair in pairs if "=" not in pair]
    if wrong:
        raise ValueError(f"--set {wrong[0]!r}: expected KEY=VALUE, such as search.population=16")
    return {key: _value(key, text) for key, _, text in (pair.partition("=") for pair in pairs)}


def _value(key: str, text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(f"--set {key}={text}: not valid YAML: {' '.join(str(error).split())}") from error


def execute(arguments: argparse.Namespace) -> int:
    """Do a command in the current folder and return its exit code: 2 for wrong input, 3 for an absent server."""
    try:
        return _dispatch(arguments, Path.cwd())
    except ValueError as error:
        print(error, file=sys.stderr)
        return UNAVAILABLE if isinstance(error, Unavailable) else REFUSED


def _dispatch(arguments: argparse.Namespace, root: Path) -> int:
    """Call a command's function; imports wait until a command needs them."""
    if arguments.command == "params":
        from scalenet.pipeline import settings

        settings.apply(root, arguments.preset, overrides(arguments.set))
        return 0
    if arguments.command in ("stage", "family"):
        from scalenet.pipeline import flows

        if arguments.command == "stage":
            return flows.run_stage(root, arguments.name, arguments.member)
        return flows.run_family(root, arguments.preset, overrides(arguments.set), arguments.target)
    if arguments.command == "deliver":
        from scalenet.pipeline import delivery

        return delivery.deliver(arguments.target)
    if arguments.command == "export":
        from scalenet.pipeline import program

        return program.export(Path(arguments.root), arguments.member, arguments.model)
    from scalenet.pipeline import results

    return {"register": results.register, "show": results.show, "ui": results.ui}[arguments.command](root)


def main(words: list[str]) -> int:
    """Run a command: in a child of the warm process if it needs the libraries that take seconds to import."""
    arguments = parser().parse_args(words)
    if arguments.command in WARM:
        return warm.run(home(Path.cwd()), words, arguments.command in SERVED)
    return execute(arguments)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
