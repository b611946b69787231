"""YAML, read strictly: plain values only, each key once, and no more than a params file holds."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml
from yaml.events import AliasEvent, CollectionEndEvent, NodeEvent, ScalarEvent

# values with aliases written out, levels, letters
MOST_VALUES, DEEPEST, LONGEST = 10_000, 20, 1_000
_CONFLICT = re.compile(r"^<{7}( |$)", re.MULTILINE)
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _UniqueKeys(_Loader):
    """YAML's safe loader, refusing a key given twice instead of taking the last one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        known: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(
                    None, None, "a key should be a word", key.start_mark
                )
            if key.value in known:
                raise yaml.constructor.ConstructorError(
                    None, None, f"key given twice: {key.value}", node.start_mark
                )
            known.add(key.value)
        return super().construct_mapping(node, deep)


# 1e-6 and 2e5 are numbers, as for DVC: PyYAML, of YAML 1.1, takes them for words
_UniqueKeys.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
)


def read(path: Path | str) -> dict[str, Any]:
    """Read a YAML mapping; ``ValueError`` names the file and the line that cannot be read."""
    try:
        content = parse(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(
            f"{path}: cannot be read ({error.strerror}); give an existing params file"
        ) from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not valid YAML: not UTF-8 ({error})") from error
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(
            f"{path}: holds {type(content).__name__}, not sections; "
            "start from the params.yaml in git"
        )
    return content


def parse(text: str) -> Any:
    """Read one YAML document; ``ValueError`` says what in it cannot be taken."""
    try:
        if "\t" in text:  # libyaml takes them in more places than YAML and DVC's reader do
            list(yaml.scan(text, Loader=yaml.SafeLoader))
        _check(text)
        return _UniqueKeys(text).get_single_data()
    except yaml.YAMLError as error:
        wrong = conflict(text) or " ".join(str(error).split())[:300]
        raise ValueError(f"not valid YAML: {wrong}") from error


def conflict(text: str) -> str:
    """Say where git left two versions in a file that it merged; "" if it left none."""
    found = _CONFLICT.search(text)
    if found is None:
        return ""
    line = text.count("\n", 0, found.start()) + 1
    return (
        f"git left two versions from line {line} on; keep one of them, and remove the lines that "
        "begin with <<<<<<<, ======= and >>>>>>>"
    )


def _check(text: str) -> None:
    """Refuse tags, and documents that are larger than any params file, before building them.

    An alias counts as often as what it stands for.
    """
    open_, sizes = [("", 0)], {}  # the collections around: their anchors and values so far
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, CollectionEndEvent):
            anchor, size = open_.pop()
            _count(open_, sizes, anchor, size + 1)
        elif isinstance(event, AliasEvent):
            if event.anchor not in sizes:
                raise ValueError(f"the alias *{event.anchor[:60]} stands for nothing before it")
            _count(open_, sizes, "", sizes[event.anchor])
        elif isinstance(event, NodeEvent):
            _check_node(event, len(open_))
            if isinstance(event, ScalarEvent):
                _count(open_, sizes, event.anchor, 1)
            else:
                open_.append((event.anchor, 0))


def _count(open_: list[tuple[str, int]], sizes: dict[str, int], anchor: str, size: int) -> None:
    """Add a value's size to the collection around it, and remember it under its anchor."""
    sizes[anchor] = size
    around, before = open_[-1]
    open_[-1] = (around, before + size)
    if before + size > MOST_VALUES:
        raise ValueError(
            f"holds more than {MOST_VALUES:,} values; a params file needs some hundred"
        )


def _check_node(event: Any, depth: int) -> None:
    line = event.start_mark.line + 1
    if event.tag:
        raise ValueError(f"line {line}: the tag {event.tag[:60]} is not taken; leave it out")
    if depth > DEEPEST:
        raise ValueError(f"line {line}: nested deeper than {DEEPEST} levels; a params file needs 5")
    if isinstance(event, ScalarEvent) and len(event.value) > LONGEST:
        raise ValueError(
            f"line {line}: a value of {len(event.value):,} letters; give at most {LONGEST:,}"
        )
