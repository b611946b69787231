"""How the method is run and remembered: DVC decides whether, Prefect when and where, MLflow
remembers."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import Timer
from types import FrameType

# Prefect and MLflow read these when they are imported, and so does whatever is started here.
DEFAULTS = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",  # nothing here reports to anybody
    "DO_NOT_TRACK": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "1",  # no lines and bars between a stage's own
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",  # a server that went away is asked again later
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",  # seconds
    # files go through MLflow's server: an S3 store behind it may have no address here
    "MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD": "false",
    "MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD": "false",
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",  # what it logs is for its pages
    "PREFECT_LOGGING_HANDLERS_DEBUG_LEVEL": "CRITICAL",
}
LOOPBACK = ("127.0.0.1", "localhost")  # never behind a proxy, whatever HTTP_PROXY says

REFUSED, UNAVAILABLE = 2, 3  # exit codes: wrong input, not worth another try; a server that is away
LEAST = 2**31  # bytes of addresses that PyTorch, MLflow, Prefect and DVC need together
STATE = ".state"  # what survives an interruption, unknown to DVC
INTERRUPTED = 130  # the shell's exit code for Ctrl-C
PATIENCE = 30.0  # seconds in which a command that heard Ctrl-C ends in order


class Killed(ValueError):
    """The process that computed a stage was ended from outside, by hand or for lack of memory."""


class Stopped(Killed):
    """A stage was ended with its run, as by Ctrl-C."""


def home(root: Path) -> Path:
    """Return where tracking and servers live: the project, also for a copy of it made for one run.

    A copy's ``.state`` leads to that of a project: a scheduled run's workspace, or DVC's for an
    experiment. One that leads elsewhere, as to a faster disk, is the project's own.
    """
    state = root / STATE
    if state.is_symlink():
        there = root / state.readlink()  # one step: the project's own may be a link, too
        if there.name == STATE and there.with_name("params.yaml").exists():
            return there.parent.resolve()
    here, outer = root.resolve(), Path(os.environ.get("DVC_ROOT", root)).resolve()
    copies = (outer / ".dvc" / "tmp").resolve()  # elsewhere DVC_ROOT is another project's
    return outer if here.is_relative_to(copies) else here


def made_state(root: Path) -> Path:
    """Return ``.state``, which is made if need be, also where a link of that name leads."""
    state = (root / STATE).resolve()
    state.mkdir(parents=True, exist_ok=True)
    return state


def share_state(root: Path) -> None:
    """Lead ``.state`` of a copy of the project to that of the project: what is resumed from, and
    who computes what, is one for all."""
    there = home(root)
    if there != root.resolve() and not (root / STATE).exists():
        made_state(there)
        (root / STATE).symlink_to(there / STATE, target_is_directory=True)


def make_prefect_home() -> None:
    """Make the folder of Prefect's own database, its user's alone, before Prefect is imported.

    ``ValueError`` where there can be none; a server that the environment names needs none.
    """
    if os.environ.get("PREFECT_API_URL"):
        return
    name = "PREFECT_HOME" if os.environ.get("PREFECT_HOME") else "HOME"
    folder = Path(os.environ.get("PREFECT_HOME") or "~/.prefect")
    try:
        folder = folder.expanduser()
        folder.mkdir(0o700, parents=True, exist_ok=True)
        why = "" if os.access(folder, os.W_OK | os.X_OK) else "not to be written"
    except (OSError, RuntimeError) as error:  # the latter: this user has no home at all
        why = getattr(error, "strerror", None) or str(error)
    if why:
        raise ValueError(
            f"{folder}: Prefect cannot keep its database there ({why}); set {name} to a folder "
            "that you may write" + (", or PREFECT_HOME" if name == "HOME" else "")
        )


@contextmanager
def environment(values: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables while the body runs."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _set_environment() -> None:
    os.environ.update({name: v for name, v in DEFAULTS.items() if name not in os.environ})
    for name in ("NO_PROXY", "no_proxy"):
        known = [host.strip() for host in os.environ.get(name, "").split(",") if host.strip()]
        if "*" not in known:  # nothing is behind a proxy then; beside others it would mean nothing
            os.environ[name] = ",".join(dict.fromkeys([*known, *LOOPBACK]))


_set_environment()


def command() -> int:
    """Run the command ``scalenet``: its verbs, or what to install for them."""
    end_in_time(PATIENCE)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="replace")  # a terminal without UTF-8 gets "?", not a traceback
    try:
        from scalenet.pipeline.cli import main
    except ModuleNotFoundError as error:
        return _missing(error)
    return main()


def end_in_time(seconds: float) -> None:
    """End this process so long after Ctrl-C, unless it has ended.

    Python drops the exception where a callback is interrupted, as an import runs many of; what goes
    on then is broken off as by a kill.
    """

    def heard(number: int, frame: FrameType | None) -> None:
        last = Timer(seconds, os._exit, [INTERRUPTED])
        last.daemon = True
        last.start()
        signal.default_int_handler(number, frame)

    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # not ignored, as by nohup
        signal.signal(signal.SIGINT, heard)


def _missing(error: ModuleNotFoundError) -> int:
    """Say what to install for the command; a module of our own that is missing is a fault of
    ours."""
    if (error.name or "").startswith("scalenet"):
        raise error
    extra = "export" if (error.name or "").startswith("onnx") else "pipeline"
    print(
        f"{error.name} is not installed. The method runs without it (python -m scalenet.stages); "
        f"this verb of the command scalenet needs: pip install 'scalenet-pipeline[{extra}]'",
        file=sys.stderr,
    )
    return REFUSED
