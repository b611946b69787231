"""What a params file says of its keys: the comments beside them, read as text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

_LINE = re.compile(
    r"^(?P<indent> *)(?:(?P<key>\w+):)?(?P<value>[^#]*?)(?:(?:^|\s+)# ?(?P<said>.*))?$"
)


def meanings(text: str) -> dict[str, str]:
    """Return the comment of each dotted key that has one; a comment goes on over lines of its own.

    What stands before the first key is of the whole file and is left out.
    """
    found: dict[str, str] = {}
    parents: list[tuple[int, str]] = []  # the indents and keys that the last line is in
    spoken = None  # the key whose comment may go on
    for line in text.splitlines():
        parts = _LINE.match(line)
        if parts is None or not line.strip():
            spoken = None
            continue
        if parts["key"]:
            indent = len(parts["indent"])
            parents = [parent for parent in parents if parent[0] < indent]
            parents.append((indent, parts["key"]))
            spoken = ".".join(key for _, key in parents) if parts["said"] else None
            if spoken:
                found[spoken] = parts["said"].strip()
        elif spoken and parts["said"] and not parts["value"].strip():
            found[spoken] = _joined(found[spoken], parts["said"].strip())
        else:
            spoken = None
    return found


def _joined(first: str, second: str) -> str:
    """Join two lines; a word that was broken at its hyphen stays one."""
    return first + second if re.search(r"\w-$", first) else f"{first} {second}"


def leaves(content: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the dotted keys of nested mappings that hold a value or a list, and what they hold."""
    if isinstance(content, dict) and content:
        for key, value in content.items():
            yield from leaves(value, f"{name}.{key}" if name else str(key))
    elif name:
        yield name, content
