"""Where labelled images come from: bundled digits, a folder or an archive; classes and splits by folder names."""

from __future__ import annotations

import tarfile
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

from scalenet.config.params import Data
from scalenet.data.decoding import as_array, decode
from scalenet.data.files import BROKEN, SUFFIXES, Files, Source, folder, tarred, unreadable, zipped

BUNDLED = "data/digits"  # stands for scikit-learn's digits: a path, so that DVC can watch any source
OWN_SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("test", "testing"), "test"),
    **dict.fromkeys(("val", "valid", "validation", "select"), "select"),
}
WANTED = f"give {BUNDLED!r}, or a folder or an archive (.zip, .tar, .tar.gz, .tar.xz) with one folder of images a class"


def find(params: Data, root: Path) -> Source:
    """List the source of params; ``ValueError`` names the folder, archive or class that is wrong."""
    if params.source == BUNDLED:
        return digits(params)
    path = root / params.source
    if path.is_dir():
        return labelled(params, folder(path))
    if not path.exists():
        raise ValueError(f"data.source: {path} does not exist; {WANTED}")
    try:
        if zipfile.is_zipfile(path):
            return labelled(params, zipped(path))
        if tarfile.is_tarfile(path):
            return labelled(params, tarred(path))
    except BROKEN as error:
        raise unreadable(path, error) from error
    raise ValueError(f"data.source: {path} is neither a folder nor an archive; {WANTED}")


def digits(params: Data) -> Source:
    """Return scikit-learn's 1,797 handwritten digits, 8×8, grey levels 0…16 spread over 0…255."""
    bunch = load_digits()
    grey = np.round(bunch.images * (255 / 16)).astype(np.uint8)

    def pixels(index: np.ndarray) -> np.ndarray:
        return np.stack([as_array(Image.fromarray(image), params) for image in grey[index]])

    labels = bunch.target.astype(np.int64)
    return Source([str(name) for name in bunch.target_names], labels, np.full(len(labels), ""), pixels)


def labelled(params: Data, files: Files) -> Source:
    """Take classes, and splits where the files come with their own, from the folders' names.

    Folders that hold everything are passed through. ``train`` beside ``test`` and/or ``val`` are splits; a lone
    ``val`` is the test, as on ImageNet.
    """
    parts = [tuple(name.split("/")) for name in files.names]
    top = _root(parts)
    splits = _own_splits(files.origin, {own[top:] for own in parts if len(own) > top + 1})
    at = top + bool(splits)
    kept = [own for own in parts if len(own) > at + 1]
    folders = {name.split("/")[at] for name in files.folders if name.count("/") == at}
    classes = sorted(folders | {own[at] for own in kept})
    number = {name: i for i, name in enumerate(classes)}
    labels = np.array([number[own[at]] for own in kept], dtype=np.int64)
    own_split = np.array([splits.get(own[top], "") for own in kept], dtype=str)
    _check_classes(files.origin, classes, labels, own_split)
    names = ["/".join(own) for own in kept]
    return Source(classes, labels, own_split, lambda index: decode(params, files, [names[i] for i in index]))


def _root(parts: list[tuple[str, ...]]) -> int:
    """Return how many leading folders hold everything but loose images."""
    top = 0
    while True:
        inside = [own for own in parts if len(own) > top + 1]
        if len({own[top] for own in inside}) != 1 or all(len(own) == top + 2 for own in inside):
            return top
        top += 1


def _own_splits(origin: Path, parts: set[tuple[str, ...]]) -> dict[str, str]:
    """Return the split that each top folder stands for; none unless train and another are all there is.

    ``ValueError`` for a folder beside train that is no split, if both hold the same folders: an image would otherwise
    be labelled by its split.
    """
    inside: dict[str, set[str]] = {}
    for own in parts:
        inside.setdefault(own[0], set()).update(own[1:-1][:1])
    splits = {name: OWN_SPLITS.get(name.lower(), "") for name in inside}
    train = next((name for name, split in splits.items() if split == "train" and inside[name]), None)
    if train is None and len(splits) > 1 and all(splits.values()) and set.intersection(*inside.values()):
        raise ValueError(f"data.source: {origin} has {', '.join(sorted(splits))} but no folder called train; add it")
    if train is None or len(splits) < 2:
        return {}
    odd = sorted(name for name, split in splits.items() if not split)
    if odd and any(inside[name] & inside[train] for name in splits if name != train):
        raise ValueError(
            f"data.source: {origin} has {', '.join(odd)} beside {train}; splits are called "
            f"{', '.join(OWN_SPLITS)}: rename or take out {', '.join(odd)}"
        )
    if odd:
        return {}
    return splits if "test" in splits.values() else {name: s.replace("select", "test") for name, s in splits.items()}


def _check_classes(origin: Path, classes: list[str], labels: np.ndarray, own: np.ndarray) -> None:
    """Refuse fewer than two classes, and a class without images, overall or in one of the source's own splits."""
    wanted = f"needs at least two folders, each with images ({', '.join(sorted(SUFFIXES))})"
    if len(classes) < 2:
        raise ValueError(f"data.source: {origin} {wanted}; it has {len(classes)}: {', '.join(classes) or 'none'}")
    for split in sorted(set(own)) or [""]:
        empty = sorted(set(range(len(classes))) - set(labels[own == split].tolist()))
        if empty:
            where = f" in its {split} split" if split else ""
            raise ValueError(f"data.source: {origin} {wanted}; {', '.join(classes[i] for i in empty)} has none{where}")
