"""The seven stages: each reads documents and its params, calls scalenet, writes documents.

This file says of each what dvc.yaml says too (a test holds the two equal): which sections of
params.yaml it reads, which folders of scalenet it runs, and which documents it reads.
"""

from __future__ import annotations

import resource
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import scalenet
from scalenet.config import params as config
from scalenet.config.explain import some
from scalenet.records import files
from scalenet.records.emit import Emit
from scalenet.records.paths import Paths
from scalenet.records.shortage import ran_out

PACKAGE, HERE = Path(scalenet.__file__).parent, Path(__file__).parent
FEW = 4  # changes that a line names
TOGETHER = ("supernet", "retrain")  # what several processes can train
LEAST = 2**30  # bytes of addresses that PyTorch and a stage need
MEMORY = (
    "memory ran out; raise the limit on it (`ulimit -v`) or lower compute.workers, the recipe's "
    "batch or data.size; what was done is kept, and the next run goes on from there"
)


class Stage(NamedTuple):
    """What a stage depends on."""

    # sections of params.yaml, or parts of one; ${key} stands for the member
    params: tuple[str, ...]
    code: tuple[str, ...]  # folders of scalenet
    documents: tuple[str, ...]  # below artifacts; prepare reads the source that its params name
    # documents that what it resumes from depends on; none: it does not resume
    resumes: tuple[str, ...] = ()


_DESCRIPTIONS = ("config", "space", "laws", "records")
_TRAINING = ("config", "space", "records", "data", "nets", "training")
_DATA, _WEIGHTS = "data/info.json", "supernet/weights.pt"
_SPLITS = (_DATA, "data/train.npz", "data/select.npz")
_PLAN, _TEST = "plan/${key}.json", "data/test.npz"
STAGES = {
    "prepare": Stage(("data",), ("config", "space", "records", "data"), ()),
    "supernet": Stage(("space", "scaling", "supernet"), _TRAINING, _SPLITS, (_DATA,)),
    "search": Stage(
        ("space", "scaling", "search", "supernet.recipe"),
        (*_TRAINING, "search"),
        (*_SPLITS, _WEIGHTS),
        (_DATA, _WEIGHTS),
    ),
    "extrapolate": Stage(
        ("space", "scaling", "extrapolate", "family"),
        _DESCRIPTIONS,
        (_DATA, "search/found.json", "search/candidates.csv"),
    ),
    "retrain": Stage(
        ("retrain", "family.${key}"),
        (*_TRAINING, "laws"),
        (*_SPLITS, _TEST, _PLAN, _WEIGHTS),
        (_DATA, _PLAN, _WEIGHTS),
    ),
    "baselines": Stage(
        ("space.stem", "retrain", "baselines"),
        (*_TRAINING, "laws", "baselines"),
        (*_SPLITS, _TEST),
        (_DATA,),
    ),
    "publish": Stage(
        ("publish", "family", "scaling.budget", "data.name"),
        _DESCRIPTIONS,
        (
            _DATA,
            "data/read.json",
            "members",
            "baselines/baselines.json",
            "baselines/predictions.npz",
        ),
    ),
}


def run_stage(
    root: Path, stage: str, member: str | None, emit: Emit, params: config.Params | None = None
) -> None:
    """Run a stage of the project in ``root``; ``ValueError`` for anything that a user can mend.

    ``params`` are those that its params.yaml holds, for who has read them.
    """
    params = params or config.load(root / "params.yaml")
    check(params, stage, member)
    if stage != "prepare":
        check_counts(params, Paths(root).info().counts)
    with unchanged(root, params, stage, member):
        several = params.compute.processes > 1 and stage in TOGETHER
        if several and not import_module("scalenet.nets.group").is_begun():
            launch = import_module("scalenet.training.launch")
            arguments = (root.resolve(), stage, member, params)
            launch.together(params.compute.processes, compute, arguments, emit)
        else:
            compute(emit, root, stage, member, params)


def compute(emit: Emit, root: Path, stage: str, member: str | None, params: config.Params) -> None:
    """Run a stage in this process, which may be one of several that train a network."""
    names = [] if member is None else [member]
    with _enough_memory(stage), _given_back():
        import_module(f"scalenet.stages.{stage}").main(
            declared(params, stage, member), Paths(root), *names, emit
        )


def check_limit(least: int) -> None:
    """Refuse a limit on this process's memory (bytes) in which not even the libraries fit."""
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit != resource.RLIM_INFINITY and limit < least:
        raise ValueError(
            f"memory is limited to {limit >> 20:,} MiB (`ulimit -v`), and {least >> 20:,} are the "
            "least; raise the limit (`ulimit -v unlimited`)"
        )


@contextmanager
def _enough_memory(stage: str) -> Iterator[None]:
    """Turn what an allocator refuses into a line."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not ran_out(error):
            raise
        raise ValueError(f"{stage}: {MEMORY}") from error


@contextmanager
def _given_back() -> Iterator[None]:
    """Give a GPU's memory back when the body ends: this process may wait for its next stage, and
    PyTorch would keep that memory from others meanwhile."""
    try:
        yield
    finally:
        if torch := sys.modules.get("torch"):  # a stage that computes nothing does without
            torch.cuda.empty_cache()


@contextmanager
def unchanged(root: Path, params: config.Params, stage: str, member: str | None) -> Iterator[None]:
    """Refuse, at the end of the body, if what a stage depends on is not what it was.

    DVC reads params, code and inputs when a stage has ended, and would lock numbers that were not
    used.
    """
    before = _depended_on(root, params, stage, member) | {"its code": LOADED[stage]}
    yield
    now = _depended_on(root, config.load(root / "params.yaml"), stage, member)
    if changed := [name for name in before | now if before.get(name) != now.get(name)]:
        raise ValueError(
            f"{stage}: {some(changed, FEW)} changed while it ran, so what it made is not what "
            "would be locked; run it again"
        )


def _depended_on(
    root: Path, params: config.Params, stage: str, member: str | None
) -> dict[str, Any]:
    """Return what a stage depends on by its name: values of params, the digest of its code, and of
    files what tells DVC that they were not written since."""
    about, key = STAGES[stage], member or ""
    found: dict[str, Any] = {"its code": code_digest(stage)}
    for name in about.params:
        value: Any = plain(params)
        for part in (parts := name.replace("${key}", key).split(".")):
            value = value.get(part, {})  # a member may have left the family meanwhile
        found |= _values(".".join(parts), value)
    paths = [f"artifacts/{name.replace('${key}', key)}" for name in about.documents]
    for path in paths if stage != "prepare" else [params.data.source]:
        found |= _written(root, path)
    return found


def _values(name: str, value: Any) -> dict[str, Any]:
    """Return the values in a section by their dotted names."""
    if not isinstance(value, Mapping):
        return {name: value}
    found: dict[str, Any] = {}
    for key, content in value.items():
        found |= _values(f"{name}.{key}", content)
    return found


def _written(root: Path, name: str) -> dict[str, tuple[int, ...]]:
    """Return when a file, or each in a folder, was written, and its size; nothing of a missing
    one."""
    place = root / name
    inside = [p for p in place.rglob("*") if p.is_file()] if place.is_dir() else [place]
    stats = {p.relative_to(place): p.stat() for p in inside if p.exists()}
    return {
        (Path(name) / relative).as_posix(): (stat.st_ino, stat.st_mtime_ns, stat.st_size)
        for relative, stat in stats.items()
    }


def check(params: config.Params, stage: str, member: str | None) -> None:
    """Refuse what is no stage, and a member that is not there or not wanted."""
    if stage not in STAGES:
        raise ValueError(f"{stage!r} is no stage; there are {', '.join(STAGES)}")
    if (member is not None) != (stage == "retrain"):
        wanted = "one family member, such as S0" if stage == "retrain" else "no member"
        raise ValueError(f"stage {stage} takes {wanted}")
    if member is not None and member not in params.family:
        known = ", ".join(params.family)
        raise ValueError(f"{member!r} is no family member; params.yaml has {known}")


def check_counts(params: config.Params, counts: Mapping[str, int]) -> None:
    """Refuse, before anything is trained, numbers that the prepared images cannot give.

    No result depends on this, so DVC need not know that a stage looks at another one's params.
    """
    trained = counts["train"] + (counts["select"] if params.retrain.use_select else 0)
    joined = "train and select have" if params.retrain.use_select else "train has"
    for key, wanted, has, there in (
        ("search.calibration", params.search.calibration, "train has", counts["train"]),
        ("retrain.calibration", params.retrain.calibration, joined, trained),
    ):
        if wanted > there:
            raise ValueError(
                f"{key}: {wanted:,} was given, but {has} {there:,} images; give that or less"
            )


def declared(params: config.Params, stage: str, member: str | None = None) -> SimpleNamespace:
    """Return the sections that a stage declares, and ``compute``: where it computes, but not how
    many others run beside it.

    No other thing is read that DVC does not know of.
    """
    chosen: dict[str, Any] = {}
    for name in STAGES[stage].params:
        section, _, part = name.partition(".")
        value = getattr(params, section)
        if part == "${key}":
            value = {member: value[member]}
        elif part:
            value = SimpleNamespace(**{part: getattr(value, part)})
        chosen[section] = value
    where = params.compute
    compute = SimpleNamespace(device=where.device, threads=where.threads, scoring=where.scoring)
    return SimpleNamespace(compute=compute, **chosen)


def work_key(params: SimpleNamespace, stage: str, *inputs: Any) -> str:
    """Return the hash of what a result depends on: the stage's code, params, inputs, device; not
    who scores candidates, which are scored alike."""
    arithmetic = SimpleNamespace(device=params.compute.device, threads=params.compute.threads)
    content = vars(params) | {"compute": arithmetic}
    sections = [plain(section) for _, section in sorted(content.items())]
    return files.digest(code_digest(stage), sections, *inputs)


def state_key(params: SimpleNamespace, paths: Paths, stage: str, member: str = "") -> str:
    """Return the key of what a stage (or a member's training) resumes from: equal keys give equal
    results, in whichever copy of the project."""
    names = (name.replace("${key}", member) for name in STAGES[stage].resumes)
    wanted = [paths.artifacts / name for name in names]
    if stage == "retrain" and params.retrain.init == "scratch":
        wanted.remove(paths.artifacts / _WEIGHTS)  # trained from nothing, it is of no supernet
    return work_key(params, stage, *wanted)


def plain(section: Any) -> Any:
    """Return a declared section as plain data."""
    if hasattr(section, "model_dump"):
        return section.model_dump(mode="json")
    if isinstance(section, SimpleNamespace):
        section = vars(section)
    if isinstance(section, Mapping):
        return {name: plain(value) for name, value in section.items()}
    return section


def code_digest(stage: str, package: Path = PACKAGE, here: Path = HERE) -> str:
    """Return the hash of a stage's code: its file, this one, and the folders that it names."""
    folders = [package / folder for folder in STAGES[stage].code]
    sources = {here / "__init__.py", here / f"{stage}.py"}.union(*(f.glob("*.py") for f in folders))
    named = sorted((f"{file.parent.name}/{file.name}", file) for file in sources)
    return files.digest([name for name, _ in named], *(file for _, file in named))


# what this process runs, whatever the files hold later
LOADED = {stage: code_digest(stage) for stage in STAGES}
