"""docs/reference.md, made from what the code says: ``python -m scalenet.pipeline.reference``.

Types, ranges and columns are those of the typed sections and documents, meanings those of
params.yaml's comments, and verbs what their ``--help`` prints.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import click

from scalenet.config.defaults import PRESETS
from scalenet.config.params import Params, read_yaml
from scalenet.laws import plan
from scalenet.pipeline import INTERRUPTED, REFUSED, UNAVAILABLE, comments
from scalenet.pipeline.cli import VERBS, scalenet
from scalenet.pipeline.schema import kind, section
from scalenet.records.documents import (
    Candidate,
    DataInfo,
    Document,
    Family,
    Found,
    Measurements,
    Member,
    Reading,
    Trained,
)
from scalenet.stages import publish
from scalenet.training import member, supernet
from scalenet.training.watch import columns

DEFAULT = "digits"  # the preset that is params.yaml itself
WIDTH = 92  # columns of a verb's help
EXITS = {
    0: "done",
    1: "a stage failed, or `scalenet doctor` found something to mend",
    REFUSED: "wrong input: one message says what was given, what is allowed, what to change",
    UNAVAILABLE: "a server that is configured does not answer: worth another try",
    INTERRUPTED: "Ctrl-C",
}
DOCUMENTS: dict[str, type[Document]] = {
    "data/info.json": DataInfo,
    "data/read.json": Reading,
    "search/found.json": Found,
    "plan/S*.json": Member,
    "members/S*/trained.json": Trained,
    "baselines/baselines.json": Measurements,
    "family/family.json": Family,
}
TABLES: dict[str, tuple[str, Sequence[str]]] = {
    "supernet/training.csv": ("its loss curve", columns(supernet.WATCHED)),
    "supernet/sampled.csv": (
        "the FLOPs of every network that a training draws",
        ("sampling", "stage", "flops"),
    ),
    "search/candidates.csv": (
        "every network that was measured",
        [field.alias or name for name, field in Candidate.model_fields.items()],
    ),
    "law/law.csv": (
        "each member's strategy, the law's and the surface's with their intervals, its regret",
        plan.COLUMNS,
    ),
    "members/S*/training.csv": ("a member's loss curve", columns(member.WATCHED)),
    "baselines/curves.csv": (
        "the residual networks' loss curves",
        ("training", "step", "loss", "learning_rate"),
    ),
    "family/family.csv": ("the members", publish.COLUMNS),
    "family/confusion.csv": (
        "test images by member, class and answer, without the pairs that have none",
        publish.CONFUSION,
    ),
    "family/recall.csv": ("each member's recall of each class on test", publish.RECALL),
}


def page() -> str:
    """Return the whole page."""
    parts = [
        "# Reference",
        "Made by `python -m scalenet.pipeline.reference > docs/reference.md`; a test holds the two "
        "equal. What the words mean is in [concepts.md](concepts.md), how things are done in "
        "[guide.md](guide.md).",
        "1. [params.yaml](#paramsyaml)\n2. [The command](#the-command)\n"
        "3. [What lies in artifacts/](#what-lies-in-artifacts)",
        *params(),
        *verbs(),
        *artifacts(),
    ]
    return "\n\n".join(parts) + "\n"


# --- params.yaml ----------------------------------------------------------------------------------


def params() -> Iterator[str]:
    """Yield the sections of params.yaml: a table each."""
    schema = Params.model_json_schema()
    file = PRESETS / f"{DEFAULT}.yaml"
    said, content = comments.meanings(file.read_text(encoding="utf-8")), read_yaml(file)
    others = {path.stem: read_yaml(path) for path in sorted(PRESETS.glob("*.yaml"))}
    del others[DEFAULT]
    yield "## params.yaml"
    yield (
        "Every number, with its unit. No key has a default in the code: the column *digits* is "
        "what params.yaml has before anything is changed. A preset is laid over it; the last "
        "column names the presets that set a key. `[]` stands for each entry of a list; what is "
        "explained for a section is not repeated below it. FLOPs are multiply-accumulates of one "
        "image."
    )
    known: dict[tuple[str, str], str] = {}  # where a field of a section was explained first
    for name, part in schema["properties"].items():
        yield f"### {name}\n\n{said[name][:1].upper()}{said[name][1:]}."
        rows = []
        for key, allowed, home in fields(part, schema, name):
            own = said.get(key.replace("S*", "S0"))
            first = known.setdefault(home, key) if own else known.get(home)
            meaning = own or (f"as `{first}`" if first else "")
            presets = ", ".join(p for p, given in others.items() if _has(given, key))
            rows.append((f"`{key}`", allowed, _shown(_value(content, key)), meaning, presets))
        yield table(("key", "type and range", DEFAULT, "meaning", "set by"), rows)


Field = tuple[str, str, tuple[str, str]]  # dotted key, type and range, (section, field)


def fields(part: dict[str, Any], schema: dict[str, Any], name: str) -> Iterator[Field]:
    """Yield what lies below a key, sections before what is in them."""
    title, inside = section(part, schema)
    if "patternProperties" in inside:
        entry, title = next(iter(inside["patternProperties"].values())), "family"
        inside = {"properties": {"S*": entry}}
    for key, below in inside["properties"].items():
        dotted = f"{name}.{key}"
        yield dotted, kind(below, schema), (title, key)
        item = below.get("items", {})
        if section(item, schema)[0]:
            yield from fields(item, schema, f"{dotted}[]")
        elif section(below, schema)[0]:
            yield from fields(below, schema, dotted)


def _value(content: Any, key: str) -> Any:
    """Return the value at a dotted key; of lists of sections, one of each entry."""
    here, _, rest = key.partition(".")
    name = here.removesuffix("[]")
    value = next(iter(content.values())) if name == "S*" else content.get(name)
    if here.endswith("[]"):
        return [_value(entry, rest) for entry in value]
    return _value(value, rest) if rest and value is not None else value


def _has(content: Any, key: str) -> bool:
    """Tell whether a preset sets a key, or the list or section that it is in, as a whole."""
    here, _, rest = key.partition(".")
    if here not in content:  # entries of a list, and members, are named where all of them are
        return False
    return not rest or (isinstance(content[here], dict) and _has(content[here], rest))


def _shown(value: Any) -> str:
    if isinstance(value, dict) or (isinstance(value, list) and any(map(_nested, value))):
        return ""
    if isinstance(value, list):
        return "`" + ", ".join(map(_plain, value)) + "`" if value else "`[]`"
    return f"`{_plain(value)}`"


def _nested(value: Any) -> bool:
    return isinstance(value, dict)


def _plain(value: Any) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(map(_plain, value)) + "]"
    words = {None: "null", True: "true", False: "false"}
    return words[value] if value is None or isinstance(value, bool) else str(value)


# --- the command ----------------------------------------------------------------------------------


def verbs() -> Iterator[str]:
    """Yield the verbs: what their help prints."""
    yield "## The command"
    yield "It ends with " + "; ".join(f"**{code}**: {what}" for code, what in EXITS.items()) + "."
    home = click.Context(scalenet, info_name="scalenet", **scalenet.context_settings)
    for name, line in VERBS.items():
        command = scalenet.get_command(home, name)
        context = click.Context(command, home, name, terminal_width=WIDTH, max_content_width=WIDTH)
        yield f"### scalenet {name}\n\n{line}\n\n```\n{command.get_help(context)}\n```"


# --- artifacts ------------------------------------------------------------------------------------


def artifacts() -> Iterator[str]:
    """Yield the documents and tables that stages write, with their columns."""
    yield "## What lies in artifacts/"
    yield (
        "Documents are JSON, read and checked by these classes of `scalenet.records.documents`; a "
        "`network`, `base` or `scaling` is its canonical text. `metrics.json` beside them holds "
        "what `dvc metrics show` prints; `*.npz` and `*.pt` are arrays and weights."
    )
    for file, document in DOCUMENTS.items():
        yield f"### {file}\n\n{_prose(document.__doc__)}"
        yield _document(document)
    yield "### Tables\n\nCSV with a head."
    rows = [(f"`{f}`", what, ", ".join(f"`{c}`" for c in cs)) for f, (what, cs) in TABLES.items()]
    yield table(("file", "what", "columns"), rows)


def _document(document: type[Document]) -> str:
    schema = document.model_json_schema(mode="serialization")
    lines = [_listed(schema, schema)]
    for title, part in schema.get("$defs", {}).items():
        about = _prose(part.get("description", "")).rstrip(".")
        lines.append(f"*{title}*{f' ({about})' if about else ''}: {_listed(part, schema)}")
    return "\n\n".join(lines)


def _listed(part: dict[str, Any], schema: dict[str, Any]) -> str:
    return ", ".join(f"`{name}` {_type(p, schema)}" for name, p in part["properties"].items())


def _type(part: dict[str, Any], schema: dict[str, Any]) -> str:
    if "$ref" in part:
        return f"*{part['$ref'].rpartition('/')[2]}*"
    if "anyOf" in part:
        return " or ".join(_type(option, schema) for option in part["anyOf"])
    if part.get("type") == "array":
        return f"list of {_type(part.get('items', {}), schema)}"
    if part.get("type") == "object":
        inner = part.get("additionalProperties")
        return f"by name: {_type(inner, schema)}" if isinstance(inner, dict) else "as fitted"
    return kind(part, schema) if "type" in part else "any"


def _prose(text: str) -> str:
    return re.sub(r"``", "`", re.sub(r"\s+", " ", text)).strip()


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    cells = [[cell.replace("|", "\\|").replace("<", "&lt;") for cell in row] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, ["---"] * len(head), *cells))


if __name__ == "__main__":
    print(page(), end="")
