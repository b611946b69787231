"""The flow that Prefect's workers run: a family, built in a workspace of its own.

A worker imports this file to deploy, to start and to cancel a run: what takes seconds to import
waits until a run needs it.
"""

import os
import platform
import shlex
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from prefect import State, flow, get_run_logger
from prefect.runtime import flow_run
from prefect.states import Completed, Failed

from scalenet.config.params import Params, read_yaml
from scalenet.pipeline import home, settings
from scalenet.stages import STAGES

if TYPE_CHECKING:
    from scalenet.pipeline.runs.workspaces import Workspace

COMMITTED, EVERYTHING = "params.yaml as committed", "everything"

# choices of the run form, which Prefect takes from these types when the flow is deployed
Preset = Literal[(COMMITTED, *sorted(settings.presets(Path.cwd())))]
Target = Literal[(EVERYTHING, *STAGES)]


@flow(name="family")
def family(
    preset: Preset = COMMITTED,
    overrides: str = "",
    target: Target = EVERYTHING,
    revision: str = "HEAD",
    promote: bool = False,
) -> State:
    """Build a family in a workspace of its own, a clone of a revision; the checkout in which the
    worker was started stays as it is.

    The result is a DVC experiment, and the run's last line names what brings it into a checkout;
    the members go to the project's model registry. A workspace is removed after success and kept
    after failure or cancellation. The next run of the same work goes on from where that stopped.

    Args:
        preset: Numbers to start from: those committed, or a preset's over the defaults. Images
            (data) and machine (compute) stay the project's unless the preset names them.
        overrides: Single keys of params.yaml, such as search.seed=1, one a line. Values are YAML.
        target: The last stage wanted; retrain means every member.
        revision: What to run: a branch, a tag or a commit. HEAD is what is checked out where the
            worker was started, without changes that are not committed.
        promote: Deploy the family that comes out, if no size is worse than what is deployed.
    """
    try:
        from scalenet.pipeline.runs import flowruns, flows
    except ModuleNotFoundError as error:
        return _lacking(error)
    there = home(Path.cwd())
    flowruns.remember(there, flow_run.id)
    with suppress(flowruns.AWAY):  # of others; the next run tells it
        flowruns.settle(there)
    try:
        flows.import_libraries()
        if promote and target != EVERYTHING:
            raise ValueError(
                f"promote was given with target {target}; only everything ends with a family"
            )
        state = _run(Wanted(preset, overrides, target, revision, promote))
    except ModuleNotFoundError as error:
        state = _lacking(error)
    except (ValueError, OSError) as error:
        state = flows.failed(error)
    flowruns.without_traceback()
    return flowruns.ended(there, state)


def _lacking(error: ModuleNotFoundError) -> State:
    """Say what the worker's environment lacks; a module of our own is a fault of ours."""
    if (error.name or "").startswith("scalenet"):
        raise error
    return Failed(
        name="Refused",
        message=f"{error.name} is not installed in the environment of this worker, "
        f"{sys.executable} on {platform.node()}: pip install 'scalenet-pipeline[pipeline]' there",
    )


class Wanted(NamedTuple):
    """What the run form says."""

    preset: str
    overrides: str
    target: str
    revision: str
    promote: bool


def _run(wanted: Wanted) -> State:
    from scalenet.pipeline.runs import flows, published, workspaces
    from scalenet.pipeline.watch.progress import Progress

    progress = Progress()
    flows.PROGRESS.set(progress)
    root, log = Path.cwd(), get_run_logger()
    preset = None if wanted.preset == COMMITTED else wanted.preset
    target = None if wanted.target == EVERYTHING else wanted.target
    with workspaces.workspace(root, wanted.revision, own(flow_run.id)) as made:
        log.info(f"workspace {made.root}, of {made.commit}")
        os.chdir(made.root)  # where DVC looks; this process is the run's own
        _check_committed(made)
        params = settings.apply(made.root, preset, changes(wanted.overrides), log.info)
        published.name_run(params, " ".join(filter(None, (made.short, preset))))
        workspaces.bring(root, made, params)
        stages, needs = flows.graph(made.root, target)
        state = flows.built(made.root, params, stages, needs)
        if not state.is_completed():
            log.info(f"workspace {made.name} is kept; `scalenet doctor` lists it")
            return state
        workspaces.save(root, made, list(needs))
        said = [state.message, _brought(wanted, made)]
        refused = None
        if target is None:
            refused = _deployed(made.root, params, wanted.promote, progress.away, said)
        os.chdir(root)
        workspaces.drop(made.folder)
    for line in said:
        log.info(line)
    return (
        Failed(name="Refused", message=refused) if refused else Completed(message="; ".join(said))
    )


def _check_committed(made: "Workspace") -> None:
    """Refuse a revision whose params.yaml cannot be read, by its own name: the workspace's file is
    a copy, and to mend that helps nobody."""
    try:
        read_yaml(made.root / "params.yaml")
    except ValueError as error:
        said = str(error).removeprefix(f"{made.root}{os.sep}")
        raise ValueError(f"revision {made.short}: {said}; mend it, and commit it") from error


def own(run: object) -> str:
    """Return what names a flow run in a word: the end of its number. Numbers of runs that a
    schedule made begin with the minute in which it did, for many of them the same."""
    return str(run)[-8:]


def _deployed(root: Path, params: Params, promote: bool, away: bool, said: list[str]) -> str | None:
    """Deploy the family if that is wanted, and add which one is deployed to what is said; return
    why it was refused."""
    from scalenet.pipeline.models import deployment

    if away:
        deploys = ", and `scalenet promote` deploys it" if promote else ""
        said.append(f"then `scalenet register`, once MLflow is back, registers the family{deploys}")
        return f"built, but not deployed: MLflow is away; {'; '.join(said)}" if promote else None
    try:
        said.append(
            deployment.promote(root, params) if promote else deployment.standing(root, params)
        )
    except ValueError as error:
        return f"built, but not deployed: {error}; {said[-1]}"
    return None


def _brought(wanted: Wanted, made: "Workspace") -> str:
    """Say what brings the result into the checkout. DVC applies an experiment of all stages: of
    others it misses files."""
    if wanted.target == EVERYTHING:
        return f"`dvc exp apply {made.name}` brings it into the checkout"
    words = ["--target", wanted.target]
    if wanted.preset != COMMITTED:
        words += ["--preset", wanted.preset]
    words += [word for line in _lines(wanted.overrides) for word in ("--set", line)]
    return f"`scalenet run {shlex.join(words)}` brings it into a checkout of {made.short}"


def changes(text: str) -> dict[str, Any]:
    """Read the form's overrides: KEY=VALUE, one a line."""
    return settings.pairs(_lines(text), "overrides")


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]
