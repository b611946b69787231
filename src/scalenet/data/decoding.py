"""Image files become arrays of bytes."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from scalenet.config.params import Data
from scalenet.data.listing import BROKEN, Files, no_image, unreadable


def decode(params: Data, files: Files, names: list[str]) -> np.ndarray:
    """Return named images (n, C, size, size) uint8; ``ValueError`` names one that is unreadable."""
    place = {name: i for i, name in enumerate(names)}
    pixels = np.empty((len(names), params.channels, params.size, params.size), dtype=np.uint8)
    try:
        for name, content in files.read(set(names)):
            if isinstance(content, OSError):
                raise no_image(files.origin / name, content) from content
            pixels[place[name]] = _decoded(params, files.origin / name, content)
    except BROKEN as error:
        raise unreadable(files.origin, error) from error
    return pixels


def _decoded(params: Data, path: Path, content: bytes) -> np.ndarray:
    try:
        with Image.open(io.BytesIO(content)) as image:
            # a JPEG far larger than that is decoded at 1/2, 1/4 or 1/8
            image.draft(None, (params.size, params.size))
            return as_array(ImageOps.exif_transpose(image), params)  # upright, as a camera noted it
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise no_image(path, error) from error


def as_array(image: Image.Image, params: Data) -> np.ndarray:
    """Return (C, size, size) uint8: the shorter side resized to ``size`` px, the centre cropped."""
    if image.mode.startswith("I"):  # 16 bits a pixel, which convert() would clip to 255
        image = Image.fromarray((np.asarray(image).clip(0, 65535) >> 8).astype(np.uint8))
    image = image.convert("L" if params.channels == 1 else "RGB")
    scale = params.size / min(image.size)
    if scale != 1:
        image = image.resize(
            [max(params.size, round(side * scale)) for side in image.size], Image.Resampling.BICUBIC
        )
    left, top = ((side - params.size) // 2 for side in image.size)
    image = image.crop((left, top, left + params.size, top + params.size))
    array = np.asarray(image, dtype=np.uint8)
    return array[None] if params.channels == 1 else array.transpose(2, 0, 1)
