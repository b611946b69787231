"""Classes, and splits of the source's own, told by the names of folders."""

from __future__ import annotations

from pathlib import Path

from scalenet.config.params import Data
from scalenet.data.decoding import Rows, source_of
from scalenet.data.listing import IGNORED, LOOSE, Files
from scalenet.data.names import few, shown
from scalenet.data.source import OWN_SPLITS, Source, split_words, val_is_test

ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".xz", ".bz2", ".7z", ".rar")


def labelled(params: Data, files: Files) -> Source:
    """Take classes, and splits where the files come with their own, from the folders' names.

    Folders that hold everything are passed through. ``train`` beside ``test`` and/or ``val`` are
    splits; a lone ``val`` is the test, as on ImageNet.
    """
    paths = {name: tuple(shown(part) for part in name.split("/")) for name in files.names}
    top = _root(list(paths.values()))
    below = {path[top:] for path in paths.values() if len(path) > top + 1}
    _refuse_unsorted(files.origin, below)
    _refuse_nearly_splits(files.origin, below)
    if not paths:
        _refuse_packed(files)
    splits = _given_splits(files.origin, below)
    if not splits:
        _refuse_inner_splits(files.origin, below)
    level = top + bool(splits)  # of the folders that are classes
    kept = {name: path for name, path in paths.items() if len(path) > level + 1}
    folders = {shown(name).split("/")[level] for name in files.folders if name.count("/") == level}
    classes = sorted(folders | {path[level] for path in kept.values()})
    loose = {name: LOOSE for name in paths if name not in kept}
    if loose and not kept:
        raise _flat(files.origin, len(loose))
    others = loose | {name: _reason(name, why, level) for name, why in files.others.items()}
    given = [splits.get(path[top], "") for path in kept.values()]
    rows = Rows(list(kept), [path[level] for path in kept.values()], given)
    return source_of(params, files, rows, classes, others, depth=level + 1)


def _refuse_packed(files: Files) -> None:
    """Refuse a source whose images are inside of archives, as those of competitions often are."""
    packed = [name for name in files.others if name.lower().endswith(ARCHIVES)]
    if packed:
        single = len(packed) == 1 and files.origin.is_dir()
        alone = f"give {files.origin / packed[0]}, or " if single else ""
        raise ValueError(
            f"data.source: {files.origin} has no images but archives ({few(packed)}), and what is "
            f"inside of these is not looked at; {alone}unpack them, each into a folder of its own, "
            "and give the folder of these"
        )


def _flat(origin: Path, count: int) -> ValueError:
    """Return what to say of images that lie in no class folder, where there is none."""
    return ValueError(
        f"data.source: {origin} holds {count:,} images and no folder of images, so nothing says "
        "what they show; sort them into a folder for each class, or name a table that tells "
        "(`scalenet init --table`, data.table)"
    )


def _reason(name: str, why: str, level: int) -> str:
    """Return why a file is no image; one in no class folder is none that anybody misses."""
    return why if name.count("/") > level or why in IGNORED else LOOSE


def _root(paths: list[tuple[str, ...]]) -> int:
    """Return how many leading folders hold everything but loose images."""
    top = 0
    while True:
        inside = [path for path in paths if len(path) > top + 1]
        one = len({path[top] for path in inside}) == 1
        if not one or all(len(path) == top + 2 for path in inside):
            return top
        top += 1


def _refuse_unsorted(origin: Path, paths: set[tuple[str, ...]]) -> None:
    """Refuse images without a class in a folder called as a split, beside one with classes.

    Left out, they would be missed in silence and another test drawn; as a class of their own they
    would be mislabelled. So would those in folders that are all called as splits.
    """
    flat = {path[0] for path in paths if len(path) == 2}
    deep = {path[0] for path in paths if len(path) > 2}
    trains = [name for name in deep if OWN_SPLITS.get(name.lower()) == "train"]
    classes = {path[:2] for path in paths if len(path) > 2 and path[0] in trains}
    anything = len(classes) > 1  # whatever lies beside such a train is no class
    unsorted = sorted(name for name in flat - deep if anything or name.lower() in OWN_SPLITS)
    splits = [name for name in deep | flat if name.lower() in OWN_SPLITS]
    if unsorted and (deep & set(splits) or (len(splits) > 1 and set(splits) == deep | flat)):
        raise ValueError(
            f"data.source: {origin} has images in {', '.join(unsorted)} that lie in no class "
            f"folder, so nothing says what they show; sort them into {unsorted[0]}/<class>/, or "
            f"take {', '.join(unsorted)} out of the source"
        )


def _refuse_nearly_splits(origin: Path, paths: set[tuple[str, ...]]) -> None:
    """Refuse folders with the same folders in them that are splits by a word of their names alone,
    such as seg_train beside seg_test: which split an image is in would be learnt as its class."""
    inside: dict[str, set[str]] = {}
    for path in paths:
        if len(path) > 2 and _split_word(path[0]):
            inside.setdefault(path[0], set()).add(path[-2])
    splits = {_split_word(name) for name in inside}
    if len(splits) < 2 or all(name.lower() in OWN_SPLITS for name in inside):
        return
    if same := set.intersection(*inside.values()):
        called = ["val" if name == "select" else name for name in sorted(splits)]
        raise ValueError(
            f"data.source: {origin} has {few(sorted(inside))}, which hold the same folders "
            f"({few(sorted(same))}); if they are splits, call them {' and '.join(called)}, "
            "with a folder for each class in them; if they are classes, give them other names"
        )


def _refuse_inner_splits(origin: Path, paths: set[tuple[str, ...]]) -> None:
    """Refuse classes whose folders are splits: what was kept apart for a test would be mixed with
    the rest."""
    inside: dict[str, set[str]] = {}
    for path in paths:
        if len(path) > 2:
            inside.setdefault(path[0], set()).add(path[1])
    for name, folders in sorted(inside.items()):
        splits = {_split_word(folder) for folder in folders}
        if len(splits) > 1 and None not in splits:
            there = sorted(folders)
            raise ValueError(
                f"data.source: {origin} has the splits {few(there)} inside of the class {name}, "
                f"where they would be mixed; put them above the classes, as train/{name}/ and "
                f"test/{name}/, or, if they are none, give them other names"
            )


def inner(source: Source) -> dict[str, list[str]]:
    """Return the folders with images that each class holds, where every one holds some and one
    holds several: these may be the classes, and what lies above them something else."""
    inside: list[set[str]] = [set() for _ in source.classes]
    for name, label in zip(source.names, source.labels.tolist(), strict=False):
        inside[label].update(shown(name).split("/")[source.depth : -1][:1])
    found = {name: sorted(folders) for name, folders in zip(source.classes, inside, strict=True)}
    several = all(inside) and max(map(len, inside)) > 1
    return found if source.depth and several else {}


def _split_word(name: str) -> str | None:
    """Return the split that a word of a folder's name says, if one does."""
    return next(iter(split_words(name)), None)


def _given_splits(origin: Path, paths: set[tuple[str, ...]]) -> dict[str, str]:
    """Return the split that each top folder stands for; none unless train and another are all.

    ``ValueError`` for a folder beside train that is no split, if both hold the same folders: an
    image would otherwise be labelled by its split.
    """
    inside: dict[str, set[str]] = {}
    for path in paths:
        inside.setdefault(path[0], set()).update(path[1:-1][:1])
    splits = {name: OWN_SPLITS.get(name.lower(), "") for name in inside}
    trains = [name for name, split in splits.items() if split == "train" and inside[name]]
    if len(splits) < 2:
        return {}
    if not trains:
        if all(splits.values()) and set.intersection(*inside.values()):
            raise ValueError(
                f"data.source: {origin} has {', '.join(sorted(splits))} "
                "but no folder called train; add it"
            )
        return {}
    train, odd = trains[0], sorted(name for name, split in splits.items() if not split)
    if odd and any(inside[name] & inside[train] for name in splits if name != train):
        raise ValueError(
            f"data.source: {origin} has {', '.join(odd)} beside {train}; splits are called "
            f"{', '.join(OWN_SPLITS)}: rename or take out {', '.join(odd)}"
        )
    if odd:
        return {}
    return val_is_test(splits)
