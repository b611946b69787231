"""The contact sheet: readable for few and for many classes, bounded, the same bytes every time."""

import io

import numpy as np
import pytest
from PIL import Image

from scalenet.data import contact


def invented(classes: int, channels: int = 1, size: int = 8, each: int = 3):
    """Return splits in which every image of a class is of one level of its own."""
    labels = np.tile(np.arange(classes), each)
    levels = (labels * 37 % 200 + 20).astype(np.uint8)
    pixels = np.broadcast_to(levels[:, None, None, None], (len(labels), channels, size, size))
    return {name: {"pixels": pixels, "labels": labels} for name in ("train", "select", "test")}


def opened(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)).convert("L")).astype(int)


@pytest.mark.parametrize("classes", [2, 10, 40, 41, 200, 1000])
def test_every_class_has_its_images_on_a_sheet_of_bounded_size(classes):
    page = opened(contact.sheet([f"class {i}" for i in range(classes)], invented(classes)))
    assert page.shape[0] <= 2140 and page.shape[1] <= 2380
    levels, counts = np.unique(page, return_counts=True)
    areas = dict(zip(levels.tolist(), counts.tolist(), strict=True))
    shown = {int(i * 37 % 200 + 20) for i in range(min(classes, 200))}
    tiles = 9 if classes <= 40 else 5  # of 3 images a split
    assert all(areas.get(level, 0) >= tiles * 48 * 48 for level in shown)


@pytest.mark.parametrize(("channels", "size"), [(1, 1), (3, 13), (3, 96)])
def test_images_of_any_size_and_colour_become_tiles(channels, size):
    splits = invented(3, channels, size)
    assert contact.sheet(list("abc"), splits) == contact.sheet(list("abc"), splits)


def test_a_class_that_a_split_lacks_leaves_its_place_empty():
    splits = invented(2)
    first = opened(contact.sheet(["a", "b"], splits))
    splits["test"] = {name: array[:0] for name, array in splits["test"].items()}
    assert (opened(contact.sheet(["a", "b"], splits)) == 255).sum() > (first == 255).sum()


@pytest.mark.parametrize("name", ["", "x" * 300, "two\nlines", "\u706b" * 40, "a,b"])
def test_names_of_any_kind_and_length_fit(name):
    splits = invented(2)
    page = opened(contact.sheet([name, "b"], splits))
    row = page[52:100, contact.NAME : contact.NAME + contact.GAP]
    assert page.shape == opened(contact.sheet(["a", "b"], splits)).shape
    assert (row == 255).all(), "a name stays in its place"


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("wren", "wren"),
        ("L\u00f6wenzahn", "Lowenzahn"),
        ("Wei\u00dfdorn", "Wei?dorn"),
        ("\u84b2\u516c\u82f1", "class 1 of 2"),
        ("\u041e\u0434\u0443\u0432\u0430\u043d\u0447\u0438\u043a", "class 1 of 2"),
    ],
)
def test_a_name_is_drawn_in_letters_that_the_font_has_or_told_by_its_number(name, shown):
    splits = invented(2)
    assert contact.sheet([name, "b"], splits) == contact.sheet([shown, "b"], splits)
