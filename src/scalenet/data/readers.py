"""Where labelled images come from: bundled digits, a folder or an archive.

Classes, and splits of the source's own, are told by the folders' names.
"""

from __future__ import annotations

import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

from scalenet.config.params import Data
from scalenet.data.decoding import as_array, decode
from scalenet.data.listing import BROKEN, SUFFIXES, Files, folder, tarred, unreadable, zipped

# stands for scikit-learn's digits: a path, so that DVC can watch any source
BUNDLED = "data/digits"
OWN_SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("test", "testing"), "test"),
    **dict.fromkeys(("val", "valid", "validation", "select"), "select"),
}
WANTED = (
    f"give {BUNDLED!r}, or a folder or an archive (.zip, .tar, .tar.gz, .tar.xz) "
    "with one folder of images a class"
)


@dataclass(frozen=True)
class Source:
    """Labelled images that nobody has decoded yet.

    ``labels`` int64 (N); ``given`` (N) names the split that an image's own folder puts it in, ""
    for none; ``pixels`` maps indices (n) to uint8 (n, C, H, W).
    """

    classes: list[str]
    labels: np.ndarray
    given: np.ndarray
    pixels: Callable[[np.ndarray], np.ndarray]


def find(params: Data, root: Path) -> Source:
    """List the source of params; ``ValueError`` names the folder, archive or class at fault."""
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
    classes = [str(name) for name in bunch.target_names]
    return Source(classes, labels, np.full(len(labels), ""), pixels)


def labelled(params: Data, files: Files) -> Source:
    """Take classes, and splits where the files come with their own, from the folders' names.

    Folders that hold everything are passed through. ``train`` beside ``test`` and/or ``val`` are
    splits; a lone ``val`` is the test, as on ImageNet.
    """
    paths = [tuple(name.split("/")) for name in files.names]
    top = _root(paths)
    splits = _given_splits(files.origin, {path[top:] for path in paths if len(path) > top + 1})
    level = top + bool(splits)  # of the folders that are classes
    kept = [path for path in paths if len(path) > level + 1]
    folders = {name.split("/")[level] for name in files.folders if name.count("/") == level}
    classes = sorted(folders | {path[level] for path in kept})
    number = {name: i for i, name in enumerate(classes)}
    labels = np.array([number[path[level]] for path in kept], dtype=np.int64)
    given = np.array([splits.get(path[top], "") for path in kept], dtype=str)
    _check_classes(files.origin, classes, labels, given)
    names = ["/".join(path) for path in kept]
    return Source(classes, labels, given, lambda i: decode(params, files, [names[n] for n in i]))


def _root(paths: list[tuple[str, ...]]) -> int:
    """Return how many leading folders hold everything but loose images."""
    top = 0
    while True:
        inside = [path for path in paths if len(path) > top + 1]
        one = len({path[top] for path in inside}) == 1
        if not one or all(len(path) == top + 2 for path in inside):
            return top
        top += 1


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
    if "test" in splits.values():
        return splits
    return {name: split.replace("select", "test") for name, split in splits.items()}


def _check_classes(origin: Path, classes: list[str], labels: np.ndarray, given: np.ndarray) -> None:
    """Refuse fewer than two classes, and one without images, overall or in a given split."""
    wanted = f"needs at least two folders, each with images ({', '.join(sorted(SUFFIXES))})"
    if len(classes) < 2:
        names = ", ".join(classes) or "none"
        raise ValueError(f"data.source: {origin} {wanted}; it has {len(classes)}: {names}")
    for split in sorted(set(given)) or [""]:
        empty = sorted(set(range(len(classes))) - set(labels[given == split].tolist()))
        if empty:
            names, where = ", ".join(classes[i] for i in empty), f" in its {split} split"
            raise ValueError(
                f"data.source: {origin} {wanted}; {names} has none{where if split else ''}"
            )
