"""What would run, why, and how long it would take."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from scalenet.config import params as config
from scalenet.config.away import Unavailable
from scalenet.config.params import Params
from scalenet.pipeline import project
from scalenet.pipeline.remember import stores
from scalenet.pipeline.repro import Graph
from scalenet.records import files

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
    """Return the seconds of each stage and member: of its last run, else as init planned them."""
    planned = _planned(root)
    with suppress(Unavailable):  # MLflow, which is away: a plan serves as well
        return planned | last(root, params)
    return planned


def _planned(root: Path) -> dict[str, float]:
    """Return the seconds that init planned; none if git left them in a merge."""
    file = root / project.CODE / "init.json"
    with suppress(ValueError):
        return files.read_json(file)["seconds"] if file.exists() else {}
    return {}


def last(root: Path, params: Params) -> dict[str, float]:
    """Return the seconds of each stage and member in its last run here, the newest first."""
    if not stores.is_there(root):
        return {}
    client = stores.connect(root)
    experiment = client.get_experiment_by_name(stores.stage_experiment(params))
    if experiment is None:
        return {}
    found: dict[str, float] = {}
    for run in stores.own_runs(client, root, experiment.experiment_id, "FINISHED"):
        work = run.data.tags.get("member") or run.data.tags["stage"]
        found.setdefault(work, (run.info.end_time - run.info.start_time) / 1000)
    return found
