"""Images that DVC passes over, as a .dvcignore tells it to.

Stage prepare reads them, and DVC would call a family up to date whatever changes in them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from dvc.repo import Repo

from scalenet.data.names import INSIDE, reason, seen

READING = "prepare"  # the stage that reads images
TABLES = (".csv", ".tsv")
CODE = (("src",), ("stages",), (".scalenet",))  # where what it depends on besides them lies


def refuse(repo: Repo) -> None:
    """``ValueError`` names an image of the source that DVC is told to ignore."""
    for stage in repo.index.stages:
        for dep in stage.deps if stage.addressing == READING else ():
            path = Path(dep.fs_path)
            inside = Path(os.path.relpath(path, repo.root_dir)).parts[:1]
            if inside not in CODE and (name := next(_left_out(repo, path), "")):
                raise ValueError(
                    f"data.source: {name} is one that DVC is told to ignore, so it would not see "
                    "what changes there; `dvc check-ignore --details` and that name say by which "
                    "line of a .dvcignore: take the line out, or the images out of the source"
                )


def _left_out(repo: Repo, source: Path) -> Iterator[str]:
    """Yield the images, and folders with something to read, that DVC does not look at."""
    if repo.dvcignore.is_ignored(repo.fs, str(source)):
        yield str(source)
    for folder, folders, names in os.walk(source):
        folders[:] = [name for name in folders if seen(name)]
        read = [name for name in names if _is_read(name)]
        known, kept = repo.dvcignore(folder, list(folders), list(read))
        yield from (str(Path(folder) / name) for name in sorted({*read} - {*kept}))
        for name in sorted({*folders} - {*known}):
            if any(_is_read(file) for *_, files in os.walk(Path(folder) / name) for file in files):
                yield str(Path(folder) / name)


def _is_read(name: str) -> bool:
    """Tell whether a file may be an image, hold images, or be their table."""
    return seen(name) and (not reason(name, b"") or name.lower().endswith((*INSIDE, *TABLES)))
