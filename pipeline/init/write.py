"""A project's folder with a params.yaml whose numbers say why they were chosen."""

from __future__ import annotations

import os
import re
import textwrap
import unicodedata
from pathlib import Path
from typing import Any

from scalenet.config import yamlfile
from scalenet.config.params import parse
from scalenet.data.readers import BUNDLED
from scalenet.pipeline import project, yamltext
from scalenet.pipeline.init.recipes import Choice, Choices
from scalenet.pipeline.settings import merge, nested
from scalenet.records import files

RECORD = f"{project.CODE}/init.json"  # what was planned, and the hash of the params.yaml written
WIDTH = 98  # columns of a comment
LONGEST = 60  # letters of a name that is made here
EXPLAINED = "A line `init: …` says why the number below it was chosen."


def name_of(data: str) -> str:
    """Return a project's name for a path: its last part without suffixes, in plain letters."""
    stem = re.sub(r"(\.tar)?\.\w+$", "", Path(data).resolve().name)
    parts = unicodedata.normalize("NFKD", stem)  # é is e and an accent
    letters = "".join(part for part in parts if not unicodedata.combining(part))
    return re.sub(r"[^A-Za-z0-9_-]+", "-", letters).strip("-_")[:LONGEST] or "family"


def check(root: Path) -> None:
    """Refuse a folder that holds anything but an earlier init's project, as that left it, and a
    name that no registered model may have."""
    name = root.resolve().name
    if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}", name) is None:
        raise ValueError(
            f"{name!r} cannot be NAME: it names the model too; give letters, digits, - and _, "
            f"such as {name_of(name)}"
        )
    if not root.exists() or (root.is_dir() and not any(root.iterdir())):
        return
    if not root.is_dir():
        raise ValueError(f"{root} is a file; give another NAME for the project's folder")
    if (root / RECORD).exists() and not (root / "artifacts").exists():
        written = files.read_json(root / RECORD)["params"]
        if (root / "params.yaml").exists() and files.digest(root / "params.yaml") == written:
            return
    raise ValueError(
        f"{root} is not empty; give another NAME for the project's folder, or move it away"
    )


def is_bundled(data: str) -> bool:
    """Tell whether DATA means the bundled digits: not if images are there under that name."""
    path = Path(data)
    return data in ("digits", BUNDLED) and (not path.exists() or (path / RECORD).exists())


def source_of(data: str, root: Path) -> str:
    """Return data.source of a project: relative where data lie in the folder that holds it.

    ``digits`` stands for the bundled ones, unless there is such a path that is no project.
    """
    if is_bundled(data):
        return BUNDLED
    return name_in(root, Path(data))


def name_in(root: Path, file: Path) -> str:
    """Return how a project names a file or folder: relative where it lies in the folder that holds
    the project, since both are moved together then."""
    path, here = file.resolve(), root.resolve()
    return os.path.relpath(path, here) if path.is_relative_to(here.parent) else str(path)


def lay(root: Path, choices: Choices, title: str, seconds: dict[str, float]) -> None:
    """Make the project's folder: DVC's files, params.yaml, and a record of what was planned."""
    text = params_text(choices, title)
    root.mkdir(parents=True, exist_ok=True)
    project.begin(root)
    files.write_bytes(root / "params.yaml", text.encode())
    project.refresh(root)
    digest = files.digest(root / "params.yaml")
    files.write_json(root / RECORD, {"params": digest, "seconds": seconds})


def params_text(choices: Choices, title: str) -> str:
    """Return the default params.yaml with every choice in place, below the reason for it."""
    content = yamltext.load(project.DEFAULTS)
    for key, choice in choices.items():
        merge(content, nested(key, yamltext.styled(choice.value)))
        _explain(content, key, choice)
    head = [
        *textwrap.wrap(title, WIDTH - 2),
        EXPLAINED,
    ]
    text = "".join(f"# {line}\n" for line in head) + yamltext.spaced(yamltext.dump(content))
    parse(yamlfile.parse(text))
    return text


def _explain(content: Any, key: str, choice: Choice) -> None:
    """Put the reason for a choice above its key."""
    if not choice.why:
        return
    *parents, last = key.split(".")
    for part in parents:
        content = content[part]
    indent = 2 * len(parents)
    lines = textwrap.wrap(f"init: {choice.why}", WIDTH - indent - 2)
    content.yaml_set_comment_before_after_key(last, before="\n".join(lines), indent=indent)
