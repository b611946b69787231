"""YAML that people read: loaded with its comments, and written again as it stands."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.representer import RoundTripRepresenter
from ruamel.yaml.scalarstring import DoubleQuotedScalarString

from scalenet.config import yamlfile

SHORT = 60  # letters of a value that others may stand beside on a line
LINE = 88  # letters of a mapping on one line; a longer one has a line a key
UNBROKEN = 4096  # the writer would break a line within a list's brackets


class _Representer(RoundTripRepresenter):
    """One that writes null, which DVC's and everybody's own use of the library leaves empty."""


_Representer.add_representer(
    type(None), lambda self, _: self.represent_scalar("tag:yaml.org,2002:null", "null")
)


def load(file: Path) -> Any:
    """Return what a file holds, with its comments."""
    return _yaml().load(file.read_text(encoding="utf-8"))


def put(node: Any, place: Any, value: Any) -> None:
    """Set a value in a list or a mapping; of a mapping within, single keys, each beside its
    comment."""
    before = node[place] if isinstance(node, list) or place in node else None
    if not (isinstance(before, CommentedMap) and isinstance(value, Mapping) and value):
        node[place] = styled(value)
        return
    for key in [key for key in before if key not in value]:
        del before[key]
    for key, inner in value.items():
        if key not in before or not _is_same(before[key], inner):
            put(before, key, inner)


def dump(content: Any) -> str:
    """Return what ``load`` gave as text: what was not changed stands as it stood, but for the
    spaces and breaks inside brackets. Words that params.yaml's reader takes for something else,
    such as no and off, are in quotes."""
    for node, place, value in _values(content):
        if type(value) is str and not _is_read_as(value):
            node[place] = DoubleQuotedScalarString(value)
        elif isinstance(value, CommentedMap) and len(str(value).replace("'", "")) > LINE:
            value.fa.set_block_style()
    text = io.StringIO()
    _yaml().dump(content, text)
    return text.getvalue()


def styled(value: Any) -> Any:
    """Return plain data as it is to be written: a list or a mapping on a line, unless it holds a
    mapping or something long, which then have lines of their own."""
    if not isinstance(value, list | dict):
        return value
    inner = list(value.values()) if isinstance(value, dict) else value
    made: Any = CommentedMap() if isinstance(value, dict) else CommentedSeq()
    if not any(isinstance(item, dict) or len(str(item)) > SHORT for item in inner):
        made.fa.set_flow_style()
    if isinstance(value, dict):
        made.update({key: styled(item) for key, item in value.items()})
    else:
        made.extend(styled(item) for item in value)
    return made


def spaced(text: str) -> str:
    """Return text with an empty line before each section; a list's went with its items."""
    return re.sub(r"(?m)^([ \w].*)\n(?=\w+:)", r"\1\n\n", text)


def _yaml() -> YAML:
    yaml = YAML()
    yaml.preserve_quotes, yaml.width, yaml.Representer = True, UNBROKEN, _Representer
    yaml.indent(mapping=2, sequence=4, offset=2)
    return yaml


def _values(content: Any) -> Iterator[tuple[Any, Any, Any]]:
    """Yield every value below a list or a mapping with its place in what holds it."""
    for place in range(len(content)) if isinstance(content, list) else list(content):
        value = content[place]
        yield content, place, value
        if isinstance(value, Mapping | list):
            yield from _values(value)


def _is_same(one: Any, other: Any) -> bool:
    """Tell whether two values are equal, of which 0 and false are not."""
    return one == other and isinstance(one, bool) == isinstance(other, bool)


def _is_read_as(word: str) -> bool:
    """Tell whether a word without quotes is read as itself."""
    try:
        return yamlfile.parse(word) == word
    except ValueError:
        return False
