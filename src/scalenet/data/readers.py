"""Where labelled images come from: bundled digits, a folder or an archive.

Classes, and splits of the source's own, are told by the folders' names.
"""

from __future__ import annotations

import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

from scalenet.config.params import Data
from scalenet.data.decoding import decode
from scalenet.data.listing import BROKEN, IGNORED, LOOSE, Files, folder, unreadable, zipped
from scalenet.data.names import SUFFIXES, few, shown
from scalenet.data.pixels import as_array
from scalenet.data.summary import too_many
from scalenet.data.tars import tarred

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
    for none; ``pixels`` maps indices (n) to uint8 (n, C, H, W), and adds those of ``names`` (N)
    that cannot be decoded to ``faults``. These and files that were ``skipped`` or ``ignored``
    come with the reason; ``depth`` is how many folders lead to a class.
    """

    classes: list[str]
    labels: np.ndarray
    given: np.ndarray
    pixels: Callable[[np.ndarray], np.ndarray]
    names: list[str] = field(default_factory=list)
    faults: dict[str, str] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    ignored: dict[str, str] = field(default_factory=dict)
    depth: int = 0

    def whole(self, index: np.ndarray) -> np.ndarray:
        """Return which of some images could be decoded, once ``pixels`` was asked for them."""
        return np.array([not self.faults or self.names[i] not in self.faults for i in index], bool)

    def folder(self, name: str) -> str:
        """Return the folders down to a file's class."""
        return "/".join(shown(name).split("/")[: self.depth])


def find(params: Data, root: Path) -> Source:
    """List the source of params; ``ValueError`` names the folder, archive or class at fault."""
    if params.source == BUNDLED:
        return digits(params)
    return labelled(params, listed(root / params.source))


def listed(path: Path) -> Files:
    """List the images of a folder or an archive; ``ValueError`` if it is neither, or damaged."""
    if path.is_dir():
        return folder(path)
    if not path.is_file():
        what = "is no regular file" if path.exists() else "does not exist"
        raise ValueError(f"data.source: {path} {what}; {WANTED}")
    try:
        if zipfile.is_zipfile(path):
            return zipped(path)
        if tarfile.is_tarfile(path):
            return tarred(path)
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
    paths = {name: tuple(shown(part) for part in name.split("/")) for name in files.names}
    top = _root(list(paths.values()))
    below = {path[top:] for path in paths.values() if len(path) > top + 1}
    _refuse_unsorted(files.origin, below)
    splits = _given_splits(files.origin, below)
    level = top + bool(splits)  # of the folders that are classes
    kept = {name: path for name, path in paths.items() if len(path) > level + 1}
    folders = {shown(name).split("/")[level] for name in files.folders if name.count("/") == level}
    classes = sorted(folders | {path[level] for path in kept.values()})
    number = {name: i for i, name in enumerate(classes)}
    labels = np.array([number[path[level]] for path in kept.values()], dtype=np.int64)
    given = np.array([splits.get(path[top], "") for path in kept.values()], dtype=str)
    loose = {name: LOOSE for name in paths if name not in kept}
    others = loose | {name: _reason(name, why, level) for name, why in files.others.items()}
    skipped = {name: why for name, why in others.items() if why not in IGNORED}
    left = params.most_skipped - len(skipped) / max(1, len(skipped) + len(kept))
    if left < 0:
        raise too_many(files.origin, skipped, params.most_skipped)
    _check_classes(files.origin, classes, labels, given)
    names, faults = list(kept), {}
    return Source(
        classes,
        labels,
        given,
        lambda i: decode(params, files, [names[n] for n in i], faults, left),
        names=names,
        faults=faults,
        skipped=skipped,
        ignored={name: why for name, why in others.items() if why in IGNORED},
        depth=level + 1,
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
        names = few(classes) or "none"
        raise ValueError(f"data.source: {origin} {wanted}; it has {len(classes)}: {names}")
    for split in sorted(set(given)) or [""]:
        empty = sorted(set(range(len(classes))) - set(labels[given == split].tolist()))
        if empty:
            names, where = few([classes[i] for i in empty]), f" in its {split} split"
            raise ValueError(
                f"data.source: {origin} {wanted}; {names} has none{where if split else ''}"
            )
