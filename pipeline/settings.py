"""params.yaml as a preset and overrides make it, keeping its comments."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from scalenet.config import yamlfile
from scalenet.config.defaults import DEFAULTS, OPEN, PRESETS
from scalenet.config.explain import some
from scalenet.config.params import Params, parse, read_yaml
from scalenet.pipeline import devices, home, yamltext
from scalenet.pipeline.runs.alone import Say
from scalenet.records.files import sha256, write_bytes
from scalenet.stages import STAGES

FILES = ("supernet.init", "scaling.latency")  # keys that a file's name may stand for
OWNED = ("data", "compute")  # which images, and where it runs, is the project's to say
FEW = 4  # keys that a line names
ABSENT = object()  # what stands for a key that is not there, where null is a value
LONGEST = 40  # characters of a value in a line


def apply(
    root: Path,
    preset: str | None,
    overrides: Mapping[str, Any],
    say: Say | None = None,
    fill: bool = False,
) -> Params:
    """Write params.yaml with a preset and ``{"search.population": 16}``-like overrides; return it.

    A preset is complete: the package's defaults and what it changes; ``data`` and ``compute``
    stay the project's where it does not name them. ``fill`` adds the keys that a file of an older
    version lacks, with their defaults. ``say`` is told which keys a preset changes.
    Nothing is written if the outcome is not valid, or if it changes nothing.
    """
    before = read_yaml(root / "params.yaml")  # says what is wrong with a file that is no YAML
    text, plain, kept = _asked(root, preset, overrides, fill)
    params = _parsed(plain, preset)
    if plain != before:
        write_bytes(root / "params.yaml", text.encode())
        if preset is not None and say is not None:
            keys = [key for key, *_ in changed(before, plain)]
            say(_told(preset, keys, kept))
    return params


def check(root: Path, preset: str | None, overrides: Mapping[str, Any], target: str | None) -> None:
    """Refuse what a run is asked for, before anything is started or written for it."""
    read_yaml(root / "params.yaml")
    params = _parsed(_asked(root, preset, overrides)[1], preset)
    known = [*STAGES, *(f"retrain@{name}" for name in params.family)]
    if target not in (None, *known):
        raise ValueError(f"--target {target} was given; there are {', '.join(known)}")
    if not (root / params.data.source).exists():
        raise ValueError(
            f"data.source: {params.data.source} does not exist in {root}; give a folder or an "
            "archive that is there, or fetch what DVC has of it: `dvc pull`"
        )


def _asked(
    root: Path, preset: str | None, overrides: Mapping[str, Any], fill: bool = False
) -> tuple[str, dict[str, Any], list[str]]:
    """Return params.yaml as it is asked for, as text and as plain data, and the sections that
    a preset leaves as they are."""
    content, kept = yamltext.load(root / "params.yaml"), []
    if preset is not None:
        content, kept = _complete(root, preset, content)
    if fill:
        _fill(content, yamltext.load(DEFAULTS))
    for key, value in overrides.items():
        assign(content, key, _named(root, key, value))
    text = yamltext.dump(content)
    text = text if preset is None else yamltext.spaced(text)
    return text, yamlfile.parse(text), kept


def _parsed(plain: dict[str, Any], preset: str | None) -> Params:
    return parse(plain, "params.yaml" + (f" with preset {preset}" if preset else ""))


def _complete(root: Path, preset: str, own: Any) -> tuple[Any, list[str]]:
    """Return the defaults with a preset over them, and the sections that stay the project's."""
    over, content = _preset(root, preset), yamltext.load(DEFAULTS)
    kept = [name for name in OWNED if name not in over and isinstance(own.get(name), Mapping)]
    for name in kept:  # with what is said there of them
        _fill(own[name], content[name])
        content[name] = own[name]
    merge(content, over)
    return content, kept


def pairs(lines: Iterable[str], name: str) -> dict[str, Any]:
    """Read KEY=VALUE lines; values are YAML. ``ValueError`` names a line that is none by ``name``,
    what it was given as."""
    read: dict[str, Any] = {}
    for line in lines:
        key, sign, text = line.partition("=")
        if not sign or not key.strip():
            raise ValueError(
                f"{name} {line[:80]!r}: expected KEY=VALUE, such as search.population=16"
            )
        try:
            read[key.strip()] = yamlfile.parse(text)
        except ValueError as error:
            raise ValueError(f"{name} {line[:80]}: {error}") from error
    return read


def changed(before: Any, after: Any, name: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Yield the dotted keys at which two contents differ, each with its two values; ``ABSENT``
    where one has not the key."""
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for key in dict.fromkeys([*before, *after]):
            inside = f"{name}.{key}" if name else str(key)
            yield from changed(before.get(key, ABSENT), after.get(key, ABSENT), inside)
    elif _are_rows(before, after):
        for place, (one, other) in enumerate(zip(before, after, strict=True)):
            yield from changed(one, other, f"{name}.{place}")
    elif before != after:
        yield name, before, after


def _are_rows(*values: Any) -> bool:
    """Tell whether values are lists of as many mappings, of which single keys may differ."""
    lists = all(isinstance(value, list | tuple) for value in values)
    rows = lists and all(isinstance(row, Mapping) for value in values for row in value)
    return rows and len({len(value) for value in values}) == 1


def line(key: str, before: Any, after: Any) -> str:
    """Say how a key changed: ``search.population: 8 -> 16``, ``family.S6: absent -> …``."""
    return f"{key}: {_short(before)} -> {_short(after)}"


def _short(value: Any) -> str:
    text = "absent" if value is ABSENT else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


def _told(preset: str, keys: list[str], kept: list[str]) -> str:
    stays = f"; {' and '.join(kept)} stay as they are" if kept else ""
    count = "one key" if len(keys) == 1 else f"{len(keys)} keys"
    return f"preset {preset} changes {count} of params.yaml: {some(keys, FEW)}{stays}"


def _named(root: Path, key: str, value: Any) -> Any:
    """Return a value to set: for a file of weights to start from, its name and its digest; for a
    device's file, what it holds."""
    if key not in FILES or not isinstance(value, str):
        return value
    there = root if (root / value).exists() else home(root)  # a workspace has it only later
    if key == "supernet.init":
        return {"file": value, "sha256": sha256(there / value)}
    return devices.read(there / value).model_dump(mode="json")


@contextmanager
def kept_if_refused(root: Path) -> Iterator[None]:
    """Put params.yaml back as it was if the body refuses what is asked for."""
    path = root / "params.yaml"
    before = path.read_bytes() if path.exists() else None
    try:
        yield
    except ValueError:
        if before is not None and path.read_bytes() != before:
            write_bytes(path, before)
        raise


def _preset(root: Path, preset: str) -> Any:
    path = preset_path(root, preset)
    read_yaml(path)  # says what is wrong with a file that is no YAML or holds no sections
    return yamltext.load(path)


def presets(root: Path) -> dict[str, Path]:
    """Return the files of the presets there are: the package's, and the project's own."""
    return {p.stem: p for folder in (PRESETS, root / "presets") for p in folder.glob("*.yaml")}


def preset_path(root: Path, preset: str) -> Path:
    """Return a preset's file; ``ValueError`` lists those there are."""
    files = presets(root)
    if preset not in files:
        raise ValueError(f"preset {preset!r} is unknown; there are {', '.join(sorted(files))}")
    return files[preset]


def merge(into: Any, other: Mapping[str, Any]) -> None:
    """Overlay a mapping key by key; lists are replaced, and so is ``family``, whose keys are
    the members."""
    for key, value in other.items():
        if isinstance(value, Mapping) and isinstance(into.get(key), Mapping) and key != "family":
            merge(into[key], value)
        else:
            into[key] = value


def nested(key: str, value: Any) -> dict[str, Any]:
    """Return the mapping that has a value at a dotted key and nothing else."""
    for part in reversed(key.split(".")):
        value = {part: value}
    return value


def assign(content: Any, key: str, value: Any) -> None:
    """Set a dotted key; ``ValueError`` if there is no such key. ``family`` takes new ones."""
    *parents, last = key.split(".")
    node = content
    for depth, part in enumerate([*parents, last]):
        index = int(part) if isinstance(node, list) and part.isdigit() else part
        inside = (
            index in range(len(node))
            if isinstance(node, list)
            else isinstance(node, Mapping)
            and (index in node or (parents, depth) == (["family"], 1))
        )
        if not inside:
            where = ".".join(key.split(".")[:depth]) or "params.yaml"
            allowed = ", ".join(map(str, node)) if isinstance(node, Mapping) else "nothing below it"
            raise ValueError(f"{key}: unknown key; {where} has {allowed}")
        if depth < len(parents):
            node = node[index]
        else:
            yamltext.put(node, index, value)


def _fill(node: Any, known: Any) -> None:
    """Lay every key that a section lacks, and the sections in it; ``family`` is a user's own."""
    for key, default in known.items():
        if key not in node:
            _lay(node, key, known)
        elif key != OPEN and isinstance(default, Mapping) and isinstance(node[key], Mapping):
            _fill(node[key], default)


def _lay(node: Any, key: str, known: Any) -> None:
    """Put a key that a section lacks where the defaults have it, with its comment."""
    names, there = list(known), list(node)
    behind = [there.index(name) for name in names[names.index(key) :] if name in there]
    node.insert(min(behind, default=max(0, len(there) - 1)), key, known[key])
    comments = known.ca.items.get(key)
    if comments and comments[2] and not isinstance(known[key], Mapping):
        comments[2].value = f"{comments[2].value.rstrip()}\n"  # no empty line of a section's end
    if comments:
        node.ca.items[key] = comments
