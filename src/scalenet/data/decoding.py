"""Image files become arrays of bytes."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, UnidentifiedImageError

from scalenet.config.params import Data
from scalenet.data.listing import BROKEN, UNREADABLE, Files, no_image, unreadable
from scalenet.data.metadata import without_notes
from scalenet.data.pixels import DAMAGED, as_array, check_shape, upright
from scalenet.data.summary import too_many

# What `image_array` does, in words that travel with an exported model
PREPROCESSING = (
    "turned upright as its EXIF note says, transparency laid on white, {colours}, the shorter "
    "side resized to {size} px (bicubic, Pillow; a JPEG far larger is first decoded at 1/2, 1/4 or "
    "1/8), "
    "the centre cropped to {size} x {size}"
)


def decode(
    params: Data, files: Files, names: list[str], faults: dict[str, str], most: float
) -> np.ndarray:
    """Return named images (n, C, size, size) uint8, zeros for one that cannot be decoded.

    Its name is added to ``faults``. More of these than the share ``most``: ``ValueError``.
    """
    place = {name: i for i, name in enumerate(names)}
    pixels = np.zeros((len(names), params.channels, params.size, params.size), dtype=np.uint8)
    try:
        for name, content in files.read(set(names)):
            try:
                pixels[place[name]] = image_array(params, content)
            except DAMAGED as error:
                faults[name] = UNREADABLE
                if len(faults) > most * len(names) + 1e-9:
                    raise _refused(params, files, faults, error) from error
    except BROKEN as error:
        raise unreadable(files.origin, error) from error
    return pixels


def _refused(params: Data, files: Files, faults: dict[str, str], error: Exception) -> ValueError:
    """Say which image cannot be decoded, or how many are too many."""
    if isinstance(error, UnidentifiedImageError):
        error = ValueError("its content is of no known kind")
    if len(faults) == 1:
        return no_image(files.origin / next(iter(faults)), error)
    return too_many(files.origin, faults, params.most_skipped)


def image_array(params: Data, content: bytes | OSError) -> np.ndarray:
    """Return an image file as (C, size, size) uint8; its notes may be damaged, its pixels not."""
    if isinstance(content, OSError):
        raise content
    try:
        return _read(params, content)
    except DAMAGED:
        bare = without_notes(content)
        if bare == content:
            raise
        return _read(params, bare)


def _read(params: Data, content: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(content)) as image:
        check_shape(image, params.size)
        # a JPEG far larger than that is decoded at 1/2, 1/4 or 1/8
        image.draft(None, (params.size, params.size))
        return as_array(upright(image), params)
