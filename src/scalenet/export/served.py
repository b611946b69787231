"""A member that takes what people have: image files, pictures, arrays of any layout; one or many.

Registered models carry this file beside ``pixels``: NumPy, Pillow and PyTorch are all it needs.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError

from scalenet.data.pixels import DAMAGED, Form, as_array, check_shape, image_array, upright

BATCH = 64  # images that are computed at a time: it bounds memory, and changes no result
CHANNELS = (1, 3, 4)  # grey, colour, colour with transparency
NUMBERS = (int, float, list, tuple)  # what makes a list an array, as JSON has it
TAKES = (
    "give image files (bytes, pathlib.Path, or base64 in JSON), pictures of Pillow, or arrays "
    "(H, W), (H, W, C), (C, H, W), (N, H, W, C) or (N, C, H, W) with C = 1, 3 or 4"
)
LEVELS = (
    "give uint8 in 0…255 or floats in 0…1: divide bytes by 255, and do not normalise, for the "
    "model does"
)


class Stored(NamedTuple):
    """How a member's training images are stored, and the names of its classes."""

    channels: int
    size: int
    classes: Sequence[str]


class Served:
    """A member and what its images are; ``ValueError`` says what is wrong with other input.

    ``program`` maps float32 (N, C, size, size) in 0…1 to logits (N, classes).
    """

    def __init__(self, program: Callable[[torch.Tensor], torch.Tensor], stored: Stored):
        self.program, self.stored = program, stored

    def answers(self, given: Any) -> list[dict[str, Any]]:
        """Return for each image its class, that class's probability, and those of all classes,
        the likeliest first."""
        return [self.named(chances) for chances in self.probabilities(given)]

    def named(self, chances: np.ndarray) -> dict[str, Any]:
        """Return the answer that the probabilities (classes) of one image are."""
        best = np.argsort(-chances, kind="stable")
        names = {self.stored.classes[i]: float(chances[i]) for i in best}
        first, probability = next(iter(names.items()))
        return {"class": first, "probability": probability, "probabilities": names}

    def probabilities(self, given: Any) -> np.ndarray:
        """Return the probability of each class, float32 (N, classes), for what was given."""
        images, parts = self._read(given), []
        while part := list(islice(images, BATCH)):
            parts.append(self.compute(np.stack(part)))
        return np.concatenate(parts)

    @torch.no_grad()
    def compute(self, pixels: np.ndarray) -> np.ndarray:
        """Return the probability of each class for images as stored, uint8 (N, C, size, size)."""
        images = torch.from_numpy(np.ascontiguousarray(pixels)).float() / 255
        return self.program(images).softmax(1).numpy()

    def _read(self, given: Any) -> Iterator[np.ndarray]:
        """Yield images as stored; an error names the image, where there are many."""
        images = _each(given)
        if not len(images):
            raise ValueError(f"no image was given; {TAKES}")
        for number, image in enumerate(images, start=1):
            try:
                yield _pixels(image, self.stored)
            except DAMAGED as error:
                which = f"image {number} of {len(images)}: " if len(images) > 1 else ""
                raise ValueError(f"{which}{fault(error)}") from error


def fault(error: Exception) -> str:
    """Return in one line why an image cannot be read."""
    if isinstance(error, UnidentifiedImageError):
        return "not an image file of a known kind"
    return " ".join(str(error).partition("<")[0].split()) or type(error).__name__


def _each(given: Any) -> Sequence[Any]:
    """Return what was given as a sequence of single images; no file is opened yet."""
    if hasattr(given, "to_dict"):  # pandas: a table of one column, or a column
        given = given.to_dict("list") if hasattr(given, "columns") else given.to_list()
    if isinstance(given, dict):  # such as {"b64": …}
        if len(given) != 1:
            raise ValueError(f"{len(given)} columns were given; give one, with an image a row")
        [given] = given.values()
    if isinstance(given, bytes | str | Path | Image.Image):
        return [given]
    if isinstance(given, list | tuple) and not any(isinstance(item, NUMBERS) for item in given):
        return given
    array = _array(given)
    if array.dtype.kind in "UO":  # a column of files
        return array.ravel().tolist()
    return _bytes(array) if array.ndim == 4 else [array]


def _pixels(image: Any, form: Form) -> np.ndarray:
    """Return one image (C, size, size) uint8, read as the training images were."""
    if isinstance(image, str):
        image = _decoded(image)
    elif isinstance(image, Path):
        image = image.read_bytes()
    if isinstance(image, bytes):
        return image_array(form, image)
    if not isinstance(image, Image.Image):
        image = _picture(_bytes(_array(image)), form)
    check_shape(image, form.size)
    return as_array(upright(image), form)


def _decoded(text: str) -> bytes:
    """Return the file that a text holds; a text is never a path: it may come from anywhere."""
    try:
        return base64.b64decode(text.partition(";base64,")[2] or text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError(f"a text that is no base64 was given; {TAKES}") from error


def _array(given: Any) -> np.ndarray:
    try:
        return np.asarray(given)
    except (ValueError, TypeError, RuntimeError) as error:
        kind = type(given).__name__
        raise ValueError(f"a {kind} was given that makes no array; {TAKES}") from error


def _picture(array: np.ndarray, form: Form) -> Image.Image:
    """Return an image's bytes as a picture.

    Its channels are its last axis where that has 1, 3 or 4, else its first; but an array of the
    shape of stored images, (C, size, size), is one of those.
    """
    shape = array.shape
    if len(shape) == 3 and (shape == (form.channels, form.size, form.size) or _is_first(shape)):
        array = np.moveaxis(array, 0, 2)
    grey = array.ndim == 2
    if not array.size or not (grey or (array.ndim == 3 and array.shape[2] in CHANNELS)):
        raise ValueError(f"an array of shape {shape} was given; {TAKES}")
    if not grey and array.shape[2] == 1:
        array = array[:, :, 0]
    return Image.fromarray(np.ascontiguousarray(array))


def _is_first(shape: tuple[int, ...]) -> bool:
    return shape[2] not in CHANNELS and shape[0] in CHANNELS


def _bytes(array: np.ndarray) -> np.ndarray:
    """Return an array's levels as bytes; ``ValueError`` for what may mean several things."""
    kind = array.dtype.kind
    if array.dtype == np.uint8 or (not array.size and kind in "iuf"):
        return array.astype(np.uint8, copy=False)
    if kind not in "iuf":
        wanted = LEVELS if kind in "bc" else TAKES
        raise ValueError(f"an array of {array.dtype} was given; {wanted}")
    low, high = array.min(), array.max()
    if kind == "f":
        if not (low >= 0 and high <= 1):
            raise ValueError(f"floats from {low:g} to {high:g} were given; {LEVELS}")
        return np.round(array * 255).astype(np.uint8)
    if low < 0 or high > 255:
        raise ValueError(f"whole numbers from {low} to {high} were given; {LEVELS}")
    if high == 1:  # JSON writes 1.0 as 1
        raise ValueError("whole numbers 0 and 1 were given: bytes or shares? multiply by 255")
    return array.astype(np.uint8)
