"""The contact sheet: a few images of each class, by split, to see at a glance what was read."""

from __future__ import annotations

import io
import unicodedata
from itertools import pairwise

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from scalenet.data.names import printable
from scalenet.data.splits import Splits

MOST = 200  # classes on a sheet; more are told by their number
ROWS = 40  # classes below each other
TILE, GAP, NAME = 48, 4, 150  # px: side of an image, space between two, width of a class name
MANY = {"train": 4, "select": 1, "test": 1}  # images of a class, by split
FEW = {"train": 8, "select": 4, "test": 4}  # the same on a sheet of one column
PAPER, INK, FAINT = "white", "black", "#888888"


def sheet(classes: list[str], splits: Splits) -> bytes:
    """Return a PNG: a row a class, its first images of each split; at most 200 classes.

    At most 2,380 by 2,140 px. Equal splits give equal bytes.
    """
    shown = classes[:MOST]
    columns, rows = -(-len(shown) // ROWS), min(len(shown), ROWS)
    counts = FEW if columns == 1 else MANY
    width = NAME + sum(counts.values()) * (TILE + GAP) + len(counts) * GAP
    size = (columns * width + GAP, (rows + 1) * (TILE + GAP) + GAP)
    page = Image.new("RGB", size, PAPER)
    images = {name: _by_class(part["labels"], len(shown)) for name, part in splits.items()}
    for label, name in enumerate(shown):
        column, row = divmod(label, ROWS)
        left, top = GAP + column * width, (row + 1) * (TILE + GAP)
        said = _drawable(name) or f"class {label + 1} of {len(classes)}"
        _write(page, (left, top + TILE // 2), _fitted(said), INK)
        for split, place in _places(left, counts):
            if row == 0:
                _write(page, (place, TILE // 2), split, FAINT)
            for number, index in enumerate(images[split][label][: counts[split]]):
                tile = _tile(splits[split]["pixels"][index])
                page.paste(tile, (place + number * (TILE + GAP), top))
    if len(classes) > MOST:
        said = f"{len(classes):,} classes, here the first {MOST}"
        _write(page, (GAP, GAP + 6), said, FAINT)
    return _png(page)


def _places(left: int, counts: dict[str, int]) -> list[tuple[str, int]]:
    """Return where each split's images begin in a row that begins at ``left``, in px."""
    places, here = [], left + NAME
    for split, count in counts.items():
        places.append((split, here))
        here += count * (TILE + GAP) + GAP
    return places


def _by_class(labels: np.ndarray, classes: int) -> list[np.ndarray]:
    """Return the indices of each class's images, in their order."""
    order = np.argsort(labels, kind="stable")
    ends = np.searchsorted(labels[order], np.arange(classes + 1))
    return [order[start:end] for start, end in pairwise(ends)]


def _tile(pixels: np.ndarray) -> Image.Image:
    """Return an image (C, H, W) as a tile; small ones show their pixels."""
    image = Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0))
    small = image.width < TILE
    how = Image.Resampling.NEAREST if small else Image.Resampling.BICUBIC
    return image.convert("RGB").resize((TILE, TILE), how)


def _drawable(name: str) -> str | None:
    """Return a class name in letters that Pillow's own font has, those of ASCII: é as e, others as
    ?; None where that says little. Another font would draw other bytes on another machine."""
    letters = unicodedata.normalize("NFKD", printable(name))
    plain = "".join(c if c.isascii() else "?" for c in letters if not unicodedata.combining(c))
    return plain if plain.count("?") <= len(plain) / 2 else None


def _fitted(text: str) -> str:
    """Return a class name as it fits its place, its end left out if need be."""
    font = ImageFont.load_default()
    if font.getlength(text) <= NAME - 2 * GAP:
        return text
    while text and font.getlength(text + "…") > NAME - 2 * GAP:
        text = text[:-1]
    return text + "…"


def _write(page: Image.Image, place: tuple[int, int], text: str, colour: str) -> None:
    """Write a line whose left end and middle are at ``place``."""
    ImageDraw.Draw(page).text(place, text, fill=colour, font=ImageFont.load_default(), anchor="lm")


def _png(page: Image.Image) -> bytes:
    content = io.BytesIO()
    page.save(content, "png", optimize=True)
    return content.getvalue()
