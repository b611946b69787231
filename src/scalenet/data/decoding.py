"""Image files become arrays of bytes."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image

from scalenet.config.params import Data
from scalenet.data.listing import BROKEN, Files, no_image, unreadable
from scalenet.data.metadata import without_notes
from scalenet.data.pixels import DAMAGED, as_array, check_shape, upright


def decode(params: Data, files: Files, names: list[str]) -> np.ndarray:
    """Return named images (n, C, size, size) uint8; ``ValueError`` names one that is unreadable."""
    place = {name: i for i, name in enumerate(names)}
    pixels = np.empty((len(names), params.channels, params.size, params.size), dtype=np.uint8)
    try:
        for name, content in files.read(set(names)):
            pixels[place[name]] = _decoded(params, files.origin / name, content)
    except BROKEN as error:
        raise unreadable(files.origin, error) from error
    return pixels


def _decoded(params: Data, path: Path, content: bytes | OSError) -> np.ndarray:
    if isinstance(content, OSError):
        raise no_image(path, content) from content
    try:
        return image_array(params, content)
    except DAMAGED as error:
        raise no_image(path, error) from error


def image_array(params: Data, content: bytes) -> np.ndarray:
    """Return an image file as (C, size, size) uint8; its notes may be damaged, its pixels not."""
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
