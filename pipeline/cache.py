"""DVC's cache, looked at byte by byte.

DVC trusts an object of its cache that is still read-only, and the file it was checked out to. The
list of a folder's files, an object too, it takes for whole if it is JSON.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from dvc.repo import Repo
from dvc_data.hashfile.hash_info import HashInfo
from dvc_data.hashfile.tree import Tree

from scalenet.records.files import set_aside


class DamagedObject(NamedTuple):
    """An object of the cache whose content is not what its name says, and the files made of it."""

    path: Path
    files: tuple[Path, ...]


def damaged(root: Path) -> list[DamagedObject]:
    """Return every damaged object of a project's cache; reads all of it."""
    with Repo(str(root)) as repo:
        folder = Path(repo.cache.local.path)
        found = [path for path in _objects(folder) if _md5(path) != _name(path)]
        used = _used(repo, {_name(path) for path in found})
    return [DamagedObject(path, tuple(used.get(_name(path), ()))) for path in found]


def mend(found: list[DamagedObject]) -> None:
    """Set damaged objects aside, and the files made of them, so that DVC finds them missing."""
    for item in found:
        for file in item.files:
            if file.is_file() and _md5(file) != _name(item.path):
                set_aside(file)
        set_aside(item.path)


def mended_lists(repo: Repo) -> str:
    """Set damaged lists of folders aside; return a line on them, if there were any."""
    if found := _damaged_lists(repo):
        named = ", ".join(str(set_aside(path)) for path in found)
        return (
            f"damaged in DVC's cache: {named}, as it is called now; the folder that it lists is "
            "made again, or `dvc pull` brings it"
        )
    return ""


def refuse_damaged_lists(repo: Repo) -> None:
    """``ValueError`` names the damaged lists of folders, which DVC does not survive reading."""
    if found := _damaged_lists(repo):
        raise ValueError(
            f"damaged in DVC's cache: {', '.join(map(str, found))}; `scalenet run`, or `scalenet "
            "doctor --deep --mend`, sets it aside"
        )


def _damaged_lists(repo: Repo) -> list[Path]:
    lists = sorted(Path(repo.cache.local.path).glob("??/*.dir"))
    return [path for path in lists if _md5(path) != _name(path)]


def holds(repo: Repo, path: Path) -> bool:
    """Tell whether a cache has a file, or a folder, under the sum of its bytes: what was checked
    out of a damaged object is under another."""
    if not path.is_dir():
        return repo.cache.local.exists(_md5(path))
    tree = Tree()
    for file in sorted(path.rglob("*")):
        if file.is_file():
            tree.add(file.relative_to(path).parts, None, HashInfo("md5", _md5(file)))
    tree.digest()
    return repo.cache.local.exists(tree.hash_info.value)


def _objects(folder: Path) -> Iterator[Path]:
    """Yield the files of a cache: two letters, then the other thirty of an MD5 sum."""
    for path in sorted(folder.glob("??/*")):
        if path.is_file() and len(path.name.removesuffix(".dir")) == 30:
            yield path


def _name(path: Path) -> str:
    """Return the MD5 sum that an object's place says."""
    return f"{path.parent.name}{path.name}".removesuffix(".dir")


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


def _used(repo: Repo, unreadable: set[str]) -> dict[str, list[Path]]:
    """Return the files of the workspace by the MD5 sum that dvc.lock and .dvc files give them; not
    those in a folder whose list is unreadable."""
    used: dict[str, list[Path]] = {}
    for out in repo.index.outs:
        if out.hash_info and out.hash_info.value:
            place = Path(out.fs_path)
            name = out.hash_info.value.removesuffix(".dir")
            used.setdefault(name, []).append(place)
            listed = out.hash_info.isdir and name not in unreadable
            for parts, _, info in (out.get_obj() or ()) if listed else ():
                used.setdefault(info.value, []).append(place.joinpath(*parts))
    return used
