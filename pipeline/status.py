"""What would run, why, and how long it would take."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from scalenet.config import params as config
from scalenet.config.away import Unavailable
from scalenet.config.params import Params
from scalenet.pipeline import project
from scalenet.pipeline.remember import stores
from scalenet.pipeline.repro import Graph
from scalenet.records import files

if TYPE_CHECKING:
    from mlflow.entities import Run

UNKNOWN = -1.0  # seconds of a stage that nobody has timed
NEW = "not run yet"  # why a stage that dvc.lock does not know would run


class Standing(NamedTuple):
    """A stage: why it would run, if it would, and the seconds that it took or was planned for."""

    name: str
    reasons: list[str]
    seconds: float
    busy: bool = False


def standings(root: Path) -> Iterator[Standing]:
    """Yield every stage in the order of a run; ``Busy`` while DVC is at work in another process."""
    params = config.load(root / "params.yaml")
    graph, known = Graph(root), took(root, params)
    needs, locked, changes = graph.needs(None), graph.locked(), graph.reasons()
    behind: set[str] = set()  # stages that would run
    for name in needs:
        if name == project.CHECK:
            continue
        seconds = known.get(name.rpartition("@")[2], UNKNOWN)
        changed = changes[name]
        if changed is None:
            yield Standing(name, [], seconds, busy=True)
            behind.add(name)
            continue
        reasons = [*changed, *(f"after {need}" for need in sorted(needs[name] & behind))]
        reasons = [NEW] if name not in locked else reasons
        if reasons:
            behind.add(name)
        yield Standing(name, reasons, seconds)


def expected(root: Path, params: Params, names: Iterable[str]) -> dict[str, float]:
    """Return the seconds that stages are expected to take, where anybody knows."""
    known = took(root, params)
    found = {name: known.get(name.rpartition("@")[2]) for name in names}
    return {name: seconds for name, seconds in found.items() if seconds is not None}


def took(root: Path, params: Params) -> dict[str, float]:
    """Return the seconds of each stage and member: of its last run, for as many images as it would
    see by today's params, else as init planned them."""
    planned = _planned(root)
    with suppress(Unavailable):  # MLflow, which is away: a plan serves as well
        latest = _latest(root, params)
        return planned | {work: _took(run) * _more(run, params) for work, run in latest.items()}
    return planned


def _planned(root: Path) -> dict[str, float]:
    """Return the seconds that init planned; none if git left them in a merge."""
    file = root / project.CODE / "init.json"
    with suppress(ValueError):
        return files.read_json(file)["seconds"] if file.exists() else {}
    return {}


def last(root: Path, params: Params) -> dict[str, float]:
    """Return the seconds of each stage and member in its last run here, the newest first."""
    return {work: _took(run) for work, run in _latest(root, params).items()}


def _took(run: Run) -> float:
    return (run.info.end_time - run.info.start_time) / 1000


def _more(run: Run, params: Params) -> float:
    """Return how many times the images of a training it would see by these params."""
    stage = run.data.tags["stage"]
    then = [run.data.params.get(f"{stage}.recipe.{name}") for name in ("steps", "batch")]
    if stage not in ("supernet", "retrain") or None in then:
        return 1.0
    recipe = getattr(params, stage).recipe
    return recipe.steps * recipe.batch / (int(then[0]) * int(then[1]))


def _latest(root: Path, params: Params) -> dict[str, Run]:
    """Return the last run of each stage and member here, the newest first."""
    if not stores.is_there(root):
        return {}
    client = stores.connect(root)
    experiment = client.get_experiment_by_name(stores.stage_experiment(params))
    if experiment is None:
        return {}
    found: dict[str, Run] = {}
    for run in stores.own_runs(client, root, experiment.experiment_id, "FINISHED"):
        found.setdefault(run.data.tags.get("member") or run.data.tags["stage"], run)
    return found
