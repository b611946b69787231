"""The command ``scalenet``: one file a verb, imported when it is asked for."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import Any

import click

from scalenet import __version__
from scalenet.config.away import Unavailable
from scalenet.pipeline import INTERRUPTED, REFUSED, UNAVAILABLE, _missing, complete

FAULT = 1  # exit code: the machine refused, not the input
UNITS = {"k": 1e3, "m": 1e6, "g": 1e9}
VERBS = {  # a verb's file and its line in the help
    "init": "Begin a project that fits images, machine and minutes.",
    "latency": "Measure this machine, for budgets in milliseconds.",
    "run": "Build the family: every stage that is not up to date.",
    "status": "Say what would run, why, and for how long.",
    "family": "Show the family that was built.",
    "report": "Write the report of the family, one page.",
    "pick": "Choose a member to deploy, within limits.",
    "promote": "Deploy a generation of the family, or undo that.",
    "predict": "Name what is on photographs.",
    "serve": "Serve a member: a page to drop photographs on, and JSON.",
    "export": "Write a member as one ONNX or torch file.",
    "params": "Change params.yaml by a preset or single keys.",
    "stage": "Run one stage; dvc.yaml calls this.",
    "register": "Put the members that lie here into the model registry.",
    "clean": "Show and free what is no longer needed.",
    "doctor": "Look at the machine and the project; say what to mend.",
    "ui": "Open MLflow and Prefect over this folder's results.",
    "completion": "Print what makes a shell complete.",
}


class Verbs(click.Group):
    """A group whose commands are modules of this package."""

    def list_commands(self, context: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in VERBS:
            if context.resilient_parsing:  # a shell completes: there is nobody to tell
                return None
            close = get_close_matches(name, VERBS, n=1)
            meant = f"did you mean {close[0]}?" if close else f"there are {', '.join(VERBS)}"
            context.fail(f"{name!r} is no verb; {meant}")
        return import_module(f"{__name__}.{name}").command

    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except (KeyboardInterrupt, click.Abort):  # click makes one of the other at a question
            raise SystemExit(INTERRUPTED) from None

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Verbs"):
            formatter.write_dl(list(VERBS.items()))


class InProject(click.Command):
    """A verb for a project's folder; elsewhere it says at once where to go."""

    def invoke(self, context: click.Context) -> Any:
        root = Path.cwd()
        if not (root / "params.yaml").exists():
            raise ValueError(f"{root} is no project: it has no params.yaml; {_where(root)}")
        return super().invoke(context)


def _where(root: Path) -> str:
    """Say how to reach a project from a folder that is none."""
    above = [folder for folder in root.parents if (folder / "params.yaml").exists()]
    below = sorted(file.parent.name for file in root.glob("*/params.yaml"))
    if above or below:
        return f"go to one first: cd {above[0] if above else ' or cd '.join(below)}"
    return "go to a project's folder, or begin one: scalenet init PHOTOS"


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="scalenet")
def scalenet() -> None:
    """Search a base model and its scaling strategy together, and publish a family S0…SN.

    \b
    scalenet init photos.tar       begin a project for your images
    scalenet run                   build the family of the folder that you are in
    scalenet run --preset tiny     the same in under a minute, too small to be any good
    scalenet family                look at it
    scalenet run --help            what a verb takes, with examples
    """


def main() -> int:
    """Run a verb; return 2 for wrong input, 3 for an absent server, 130 after Ctrl-C."""
    try:
        return scalenet.main(prog_name="scalenet", standalone_mode=True) or 0
    except Unavailable as error:
        return _refuse(error, UNAVAILABLE)
    except ValueError as error:
        return _refuse(error, REFUSED)
    except MemoryError:
        from scalenet.stages import MEMORY

        return _refuse(MEMORY, FAULT)
    except ModuleNotFoundError as error:
        return _missing(error)
    except Exception as error:
        return _refuse(*_told(error))


def _told(error: Exception) -> tuple[str, int]:
    """Say in a line what the system refused, or MLflow, which had answered before; return the exit
    code, too. Any other fault is ours, and is shown."""
    from scalenet.records import files

    if isinstance(error, OSError):
        with suppress(OSError):
            return files.told(error, Path.cwd()), FAULT
    stores = sys.modules.get("scalenet.pipeline.remember.stores")  # it alone knows MLflow
    if stores is None or not isinstance(error, stores.OWN):
        raise error
    said = f"MLflow could not be told or asked ({stores.why(error)}); mend that and run it again"
    return said, UNAVAILABLE


def _refuse(error: ValueError | str, code: int) -> int:
    print(error, file=sys.stderr)
    return code


def overrides(pairs: tuple[str, ...]) -> dict[str, Any]:
    """Read KEY=VALUE pairs; values are YAML."""
    from scalenet.pipeline import settings

    return settings.pairs(pairs, "--set")


@contextmanager
def unless_away() -> Iterator[None]:
    """Say on stderr that the model registry is not shown, if the body cannot reach it: the family
    lies here, and can be looked at meanwhile."""
    try:
        yield
    except Unavailable as error:
        click.echo(f"warning: the model registry is not shown: {error}", err=True)


def tell_if_other() -> None:
    """Say on stderr that the family that lies here is another than dvc.lock names."""
    from scalenet.pipeline import locked

    if locked.is_other(Path.cwd(), "artifacts/family/family.json"):
        click.echo(
            "warning: the family that lies here is not the one that dvc.lock names, as after "
            "`git checkout`: `dvc checkout` brings that one here, or `dvc pull`",
            err=True,
        )


def tell_if_newer(member: str) -> None:
    """Say on stderr that a member was trained since: the family's numbers are not its own; or that
    the family is another than dvc.lock names."""
    from scalenet.records.paths import Paths

    tell_if_other()
    if newer := Paths(Path.cwd()).newer(member):
        click.echo(f"warning: {newer}", err=True)


class Number(click.FloatRange):
    """A number in a range; nan and inf are none, though Python reads them as such."""

    def convert(self, value: Any, option: Any, context: Any) -> float:
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            allowed = "above" if self.min_open else "from"
            allowed += f" {self.min:g}" + ("" if self.max is None else f" to {self.max:g}")
            self.fail(f"{value!r} is no finite number; give one {allowed}", option, context)
        return super().convert(value, option, context)


def quantity(context: click.Context, option: click.Parameter, text: str | None) -> float | None:
    """Read a number such as 2M, 500k or 2e6."""
    if text is None:
        return None
    unit = UNITS.get(text[-1:].lower(), 1.0)
    try:
        count = float(text[:-1] if unit > 1 else text) * unit
    except ValueError as error:
        raise click.BadParameter(f"{text!r} is no number, such as 2M or 500k") from error
    if not 0 < count < math.inf:
        raise click.BadParameter(f"{text!r} is no finite number above 0, such as 2M or 500k")
    return count


def changes(function: Any) -> Any:
    """Add ``--preset`` and ``--set`` to a verb."""
    function = click.option(
        "--set",
        "pairs",
        multiple=True,
        metavar="KEY=VALUE",
        shell_complete=complete.key,
        help="A key of params.yaml, again and again.",
    )(function)
    return click.option(
        "--preset", metavar="NAME", help="A preset, such as tiny.", shell_complete=complete.preset
    )(function)
