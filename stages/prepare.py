"""Room 1: labelled images become three splits of bytes. Only ``retrain`` ever reads ``test``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

from stages import artifacts
from stages.artifacts import SPLITS, DataInfo, Paths
from stages.params import Data, Params

BUNDLED = "data/digits"  # stands for scikit-learn's digits: a path, so that DVC can watch any source
SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm", ".ppm"}


@dataclass(frozen=True)
class Labelled:
    """Images uint8 (N, C, H, W), labels int64 (N) and the classes' names."""

    pixels: np.ndarray
    labels: np.ndarray
    classes: list[str]


def run(params: Data, labelled: Labelled) -> tuple[DataInfo, dict[str, dict[str, np.ndarray]]]:
    """Split stratified by class; return the description and the arrays of each split."""
    index = split(params, labelled)
    splits = {name: {"pixels": labelled.pixels[i], "labels": labelled.labels[i]} for name, i in index.items()}
    train = splits["train"]["pixels"].astype(np.float64) / 255
    info = DataInfo(
        name=params.name,
        source=params.source,
        channels=params.channels,
        size=params.size,
        classes=labelled.classes,
        counts={name: len(i) for name, i in index.items()},
        mean=[round(float(v), 6) for v in train.mean((0, 2, 3))],
        std=[round(max(float(v), 1e-3), 6) for v in train.std((0, 2, 3))],
        digest=artifacts.digest(*(array.tobytes() for split in splits.values() for array in split.values())),
    )
    return info, splits


def split(params: Data, labelled: Labelled) -> dict[str, np.ndarray]:
    """Draw image indices for train, select and test, each with every class; shuffled, so a first part is a sample."""
    generator = np.random.default_rng(params.seed)
    parts: dict[str, list[np.ndarray]] = {name: [] for name in SPLITS}
    for label, name in enumerate(labelled.classes):
        members = generator.permutation(np.flatnonzero(labelled.labels == label))
        select, test = (max(1, round(len(members) * f)) for f in (params.select_fraction, params.test_fraction))
        if select + test >= len(members):
            raise ValueError(
                f"data.source {params.source!r}: class {name!r} has {len(members)} images, of which select takes "
                f"{select} and test {test}, so none is left to train on: add images or lower the fractions"
            )
        cuts = np.cumsum([len(members) - select - test, select])
        for part, indices in zip(SPLITS, np.split(members, cuts), strict=True):
            parts[part].append(indices)
    return {name: generator.permutation(np.concatenate(indices)) for name, indices in parts.items()}


def read(params: Data, root: Path) -> Labelled:
    """Read the source: the bundled digits, or a folder with one sub-folder of images per class."""
    return read_digits(params) if params.source == BUNDLED else read_folder(params, root / params.source)


def read_digits(params: Data) -> Labelled:
    """Return scikit-learn's 1,797 handwritten digits, 8×8, grey levels 0…16 spread over 0…255."""
    digits = load_digits()
    grey = np.round(digits.images * (255 / 16)).astype(np.uint8)
    pixels = np.stack([_as_array(Image.fromarray(image), params) for image in grey])
    return Labelled(pixels, digits.target.astype(np.int64), [str(name) for name in digits.target_names])


def read_folder(params: Data, folder: Path) -> Labelled:
    """Read images from sub-folders named by class; ``ValueError`` names the folder or file that is wrong."""
    if not folder.is_dir():
        raise ValueError(
            f"data.source: {folder} is no folder; give {BUNDLED!r} or a folder with one sub-folder of images per class"
        )
    classes = sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    files = [(path, label) for label, name in enumerate(classes) for path in _images(folder / name)]
    filled = {label for _, label in files}
    empty = [name for label, name in enumerate(classes) if label not in filled]
    if len(classes) < 2 or empty:
        found = (
            f"it has {len(classes)}: {', '.join(classes) or 'none'}" if not empty else f"{', '.join(empty)} has none"
        )
        raise ValueError(
            f"data.source: {folder} needs at least two sub-folders, each with images "
            f"({', '.join(sorted(SUFFIXES))}); {found}"
        )
    pixels = np.stack([_read_image(path, params) for path, _ in files])
    return Labelled(pixels, np.array([label for _, label in files], dtype=np.int64), classes)


def _images(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)


def _read_image(path: Path, params: Data) -> np.ndarray:
    try:
        with Image.open(path) as image:
            image.draft(None, (params.size, params.size))  # a JPEG far larger than that is decoded at 1/2, 1/4 or 1/8
            return _as_array(image, params)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path}: not a readable image ({error}); replace it or take it out of the folder") from error


def _as_array(image: Image.Image, params: Data) -> np.ndarray:
    """Return (C, size, size) uint8: the shorter side resized, the centre cropped."""
    if image.mode.startswith("I"):  # 16 bits a pixel, which convert() would clip to 255
        image = Image.fromarray((np.asarray(image).clip(0, 65535) >> 8).astype(np.uint8))
    image = image.convert("L" if params.channels == 1 else "RGB")
    scale = params.size / min(image.size)
    if scale != 1:
        image = image.resize([max(params.size, round(side * scale)) for side in image.size], Image.Resampling.BICUBIC)
    left, top = ((side - params.size) // 2 for side in image.size)
    image = image.crop((left, top, left + params.size, top + params.size))
    array = np.asarray(image, dtype=np.uint8)
    return array[None] if params.channels == 1 else array.transpose(2, 0, 1)


def main(params: Params, paths: Paths) -> None:
    """Read the source, write the splits."""
    info, splits = run(params.data, read(params.data, paths.root))
    for name, arrays in splits.items():
        artifacts.write_arrays(paths.data / f"{name}.npz", arrays)
    info.write(paths.data / "info.json")
