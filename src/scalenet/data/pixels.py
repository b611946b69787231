"""Image files and pixels of any kind become 8-bit grey or colour: deep, floating, transparent,
turned or huge, with damaged notes.

This file is whole in itself (NumPy, Pillow, and pi-heif for HEIC): registered models carry it, so
that they read what they are given exactly as their training images were read.
"""

from __future__ import annotations

import io
import re
import struct
import warnings
from collections.abc import Iterator
from typing import Protocol

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError
from PIL.JpegImagePlugin import JpegImageFile

# what Pillow's readers raise for content that is not what it claims to be
DAMAGED = (
    *(OSError, EOFError, SyntaxError, ValueError, TypeError, LookupError, AttributeError),
    *(ArithmeticError, RuntimeError, struct.error, MemoryError, AssertionError),
    Image.DecompressionBombError,
)
MOST_ASPECT = 100  # longer side / shorter side
MOST_WHOLE = 2**27  # pixels of a JPEG that is in memory whole, 6 bytes each, while it is decoded
MOST_PIXELS = 2**26  # that are decoded of an image: of some kinds they then take a GB of memory
SHORT = ("PNG", "PPM")  # kinds of files whose integers have 16 bits, where Pillow says 32
PLAIN = ("1", "L", "P", "RGB", "YCbCr", "CMYK")  # kinds that take less than half of that
PROGRAMS = ("EPS",)  # kinds of files that Pillow hands to another program to run: Ghostscript
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
HEIC = re.compile(rb".{4}ftyp(hei|hev|mif1|msf1)", re.DOTALL)  # of phones; a plugin reads it
POINTER = b"version https://git-lfs"  # of a clone whose files were not fetched
LACKING = "a pointer of Git LFS, not the file; `git lfs pull` in the clone fetches it"
PNG = b"\x89PNG\r\n\x1a\n"
PNG_PIXELS = {b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"}
JPEG = b"\xff\xd8"
JPEG_SCAN = 0xDA  # from there on a JPEG is pixels
JPEG_LONE = range(0xD0, 0xDA)  # marks that no length follows
JPEG_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # they tell how the pixels are coded
JPEG_LINES = (0xC0, 0xC1)  # of these, those whose pixels may come line by line
JPEG_NOTES = {0xFE, *range(0xE1, 0xF0)} - {0xEE}  # comments, APPn; APP14 tells the colours


class Missing(ValueError):
    """An image is of a kind that is read where more is installed: it is not damaged."""


class Form(Protocol):
    """How images are stored: ``channels`` 1 or 3, ``size`` px high and wide."""

    channels: int
    size: int


def image_array(form: Form, content: bytes | OSError) -> np.ndarray:
    """Return an image file as (C, size, size) uint8; its notes may be damaged, its pixels not."""
    if isinstance(content, OSError):
        raise content
    try:
        return _read(form, content)
    except DAMAGED:
        bare = without_notes(content)
        if bare == content:
            raise
        return _read(form, bare)


def _read(form: Form, content: bytes) -> np.ndarray:
    with opened(content) as image:
        check_shape(image, form.size)
        check_scans(image, content)
        # a JPEG far larger than that is decoded at 1/2, 1/4 or 1/8
        image.draft(None, (form.size, form.size))
        check_count(image)
        decoded = upright(image)
        check_count(decoded)  # an icon says how large it is only then
        return as_array(decoded, form)


def opened(content: bytes) -> Image.Image:
    """Open an image file. Of a JPEG all sizes are: those pixels count that are decoded later."""
    try:
        image = _known(content)
    except Image.DecompressionBombError:
        if not content.startswith(JPEG):
            raise
        return JpegImageFile(io.BytesIO(content))
    except UnidentifiedImageError as error:
        if content.startswith(POINTER):
            raise ValueError(LACKING) from error
        if not HEIC.match(content):
            raise
        image = _of_phones(content)
    if image.format in PROGRAMS:
        raise ValueError(f"{image.format}, which is a program, not pixels; save it as PNG or JPEG")
    return image


def _known(content: bytes) -> Image.Image:
    with warnings.catch_warnings():  # of what is too large later
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        return Image.open(io.BytesIO(content))


def _of_phones(content: bytes) -> Image.Image:
    """Open a HEIC by a plugin of Pillow, which turns it upright."""
    try:
        from pi_heif import register_heif_opener
    except ImportError as error:
        raise Missing("HEIC is not read here: `pip install pi-heif`, or save it as JPEG") from error
    register_heif_opener()
    return _known(content)


def as_array(image: Image.Image, form: Form) -> np.ndarray:
    """Return (C, size, size) uint8: the shorter side resized to ``size`` px, the centre cropped."""
    if image.mode == "F":
        image = Image.fromarray(_floating(np.asarray(image)))
    elif image.mode.startswith("I"):  # 16 or 32 bits a pixel, which convert() would clip to 255
        short = image.mode != "I" or image.format in SHORT
        image = Image.fromarray(_deep(np.asarray(image), short))
    image = _opaque(image).convert("L" if form.channels == 1 else "RGB")
    scale = form.size / min(image.size)
    if scale != 1:
        image = image.resize(
            [max(form.size, round(side * scale)) for side in image.size], Image.Resampling.BICUBIC
        )
    left, top = ((side - form.size) // 2 for side in image.size)
    image = image.crop((left, top, left + form.size, top + form.size))
    array = np.asarray(image, dtype=np.uint8)
    return array[None] if form.channels == 1 else array.transpose(2, 0, 1)


def check_shape(image: Image.Image, size: int) -> None:
    """Refuse, before anything is decoded, a strip, and what resizing would make enormous."""
    short, long = sorted(image.size)
    if long > MOST_ASPECT * short:
        raise ValueError(
            f"{image.width}x{image.height} pixels; one side is more than {MOST_ASPECT} times "
            "the other"
        )
    if long / short * size**2 > MOST_PIXELS:
        raise ValueError(f"{image.width}x{image.height} pixels are too many, {size} px high")


def check_scans(image: Image.Image, content: bytes) -> None:
    """Refuse an enormous JPEG in several scans, as progressive ones are: it is decoded whole."""
    count = image.width * image.height
    if count > MOST_WHOLE and content.startswith(JPEG) and not _in_one_scan(content):
        raise ValueError(
            f"{image.width}x{image.height} pixels in several scans (a progressive JPEG) are more "
            f"than {MOST_WHOLE:,}"
        )


def check_count(image: Image.Image) -> None:
    """Refuse what would take GBs of memory; a transparent or deep pixel takes twice a plain one."""
    plain = image.mode in PLAIN and not image.has_transparency_data
    most = MOST_PIXELS if plain else MOST_PIXELS // 2
    if image.width * image.height > most:
        kind = "" if plain else " of this kind"
        raise ValueError(f"{image.width}x{image.height} pixels{kind} are more than {most:,}")


def upright(image: Image.Image) -> Image.Image:
    """Turn an image as a camera noted it; notes that are damaged turn nothing."""
    image.load()
    try:
        turn = TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except DAMAGED:  # the notes, not the pixels
        turn = None
    return image if turn is None else image.transpose(turn)


def _opaque(image: Image.Image) -> Image.Image:
    """Lay a transparent image on white, as a page shows it: what it hides may be any colour."""
    if not image.has_transparency_data:
        return image
    layer = image.convert("RGBA")
    if layer.getextrema()[3][0] == 255:
        return image
    return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)


def _deep(levels: np.ndarray, short: bool) -> np.ndarray:
    """Return integers as 8 bits: of ``short`` ones, which have 16, the upper 8.

    Of others no file says the range: values that never leave 0…255 stay as they are.
    """
    low, high = int(levels.min()), int(levels.max())
    if low < 0 or high > 65535:
        raise ValueError(f"its pixels are {low}…{high}; integers should be in 0…255 or 0…65535")
    return (levels >> 8 if short or high > 255 else levels).astype(np.uint8)


def _floating(levels: np.ndarray) -> np.ndarray:
    """Return floating-point pixels as 8 bits, from 0…1, 0…255 or 0…65535: the least that holds.

    Resampling overshoots by a little: a tenth, at either end.
    """
    low, high = float(levels.min()), float(levels.max())
    for most in (1, 255, 65535):
        if -max(high, 0.01) / 10 <= low and high <= most * 1.1:
            return np.round(levels.clip(0, most) * (255 / most)).astype(np.uint8)
    raise ValueError(
        f"its pixels are {low:g}…{high:g}; floating-point ones should be in 0…1, 0…255 or 0…65535"
    )


# --- notes beside the pixels of a PNG or a JPEG ---------------------------------------------------


def without_notes(content: bytes) -> bytes:
    """Return a PNG's or a JPEG's bytes without notes (EXIF, XMP, profiles, text); others as is."""
    try:
        if content.startswith(PNG):
            return _png(content)
        if content.startswith(JPEG):
            return _jpeg(content)
    except struct.error:  # it breaks off before its pixels
        pass
    return content


def _png(content: bytes) -> bytes:
    kept, place = [PNG], len(PNG)
    while place < len(content):
        (length,) = struct.unpack_from(">I", content, place)
        chunk = content[place : place + length + 12]
        if chunk[4:8] in PNG_PIXELS:
            kept.append(chunk)
        place += len(chunk)
    return b"".join(kept)


def _jpeg(content: bytes) -> bytes:
    segments = list(_segments(content))
    kept = [segment for segment in segments if segment[1] not in JPEG_NOTES]
    return b"".join([JPEG, *kept, content[len(JPEG) + sum(map(len, segments)) :]])


def _in_one_scan(content: bytes) -> bool:
    """Tell whether a JPEG surely has all its colours in its first scan, and so line by line."""
    segments = list(_segments(content))
    scan = content[len(JPEG) + sum(map(len, segments)) :]
    frames = [segment for segment in segments if segment[1] in JPEG_FRAMES]
    return (
        scan[:2] == bytes([0xFF, JPEG_SCAN])
        and len(frames) == 1
        and frames[0][1] in JPEG_LINES
        and scan[4:5] == frames[0][9:10]  # how many colours the scan has, and the image
    )


def _segments(content: bytes) -> Iterator[bytes]:
    """Yield a JPEG's segments, each with its mark, up to its pixels or what is no segment."""
    place = len(JPEG)
    while content[place : place + 1] == b"\xff":
        mark = content[place + 1]
        if mark < 0xC0 or mark in JPEG_LONE or mark in (JPEG_SCAN, 0xFF):
            return
        (length,) = struct.unpack_from(">H", content, place + 2)
        yield content[place : place + 2 + length]
        place += 2 + length
