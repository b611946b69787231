"""Pixels of every kind: deep, floating, transparent, turned, huge, and with damaged notes."""

import io
import os
import re
import struct
import sys
import warnings
import zlib
from base64 import b64decode

import numpy as np
import pytest
from PIL import EpsImagePlugin, Image
from test_sources import data, picture, unpacked

from scalenet.data import intake, readers
from scalenet.data import pixels as reading
from scalenet.data.names import reason
from scalenet.data.pixels import DAMAGED, as_array, image_array
from scalenet.pipeline.init.look import look

STEPS = np.linspace(0, 255, 64).round().reshape(8, 8)  # one 8x8 image with all levels


def saved(image: Image.Image, kind: str, **options) -> bytes:
    content = io.BytesIO()
    image.save(content, kind, **options)
    return content.getvalue()


@pytest.mark.parametrize("most", [1, 255, 65535])
def test_floating_point_pixels_keep_their_levels(most):
    content = saved(Image.fromarray((STEPS / 255 * most).astype(np.float32)), "tiff")
    assert np.abs(image_array(data(), content)[0] - STEPS).max() <= 1


def test_floats_that_overshoot_a_little_are_still_of_their_range():
    levels = (STEPS / 255 * 1.06 - 0.03).astype(np.float32)  # as bicubic resampling leaves them
    found = image_array(data(), saved(Image.fromarray(levels), "tiff"))[0]
    assert found.min() == 0 and found.max() == 255 and abs(found.mean() - 127) < 4


@pytest.mark.parametrize("bad", [-3.0, -1.0, 1e6, np.nan, np.inf])
def test_floats_of_no_known_range_are_refused(bad):
    levels = (STEPS / 255).astype(np.float32)
    levels[3, 3] = bad
    with pytest.raises(ValueError, match=r"floating-point ones should be in 0…1"):
        image_array(data(), saved(Image.fromarray(levels), "tiff"))


@pytest.mark.parametrize("kind", [np.uint16, ">u2", np.int32])
def test_integers_of_16_and_32_bits_keep_their_levels(kind):
    content = saved(Image.fromarray((STEPS * 257).astype(kind)), "tiff")
    assert np.abs(image_array(data(), content)[0] - STEPS).max() <= 1


def test_integers_of_32_bits_that_hold_8_keep_their_levels():
    content = saved(Image.fromarray(STEPS.astype(np.int32)), "tiff")
    assert np.array_equal(image_array(data(), content)[0], STEPS)


@pytest.mark.parametrize("kind", ["png", "tiff", "jpeg2000", "ppm"])
@pytest.mark.parametrize("most", [200, 250, 300, 70 * 256])
def test_a_dim_image_of_16_bits_is_no_brighter_than_others(kind, most):
    """Each image had a scale of its own: one of at most 250 became 0…250, one of 300 0…1."""
    levels = np.full((8, 8), most, np.uint16)
    image = Image.fromarray(levels.astype(np.int32) if kind == "ppm" else levels)
    options = {"irreversible": False} if kind == "jpeg2000" else {}
    assert (image_array(data(), saved(image, kind, **options)) == most >> 8).all()


@pytest.mark.parametrize("bad", [-1000, 70000])
def test_integers_of_no_known_range_are_refused(bad):
    levels = STEPS.astype(np.int32)
    levels[0, 0] = bad
    with pytest.raises(ValueError, match=r"integers should be in 0…255 or 0…65535"):
        image_array(data(), saved(Image.fromarray(levels), "tiff"))


# --- transparency ---------------------------------------------------------------------------------


def hidden(mode: str) -> bytes:
    """A drawing in black on nothing, where nothing hides red (or dark grey)."""
    image = Image.new("RGBA", (8, 8), (200, 0, 0, 0))
    image.paste((0, 0, 0, 255), (0, 0, 4, 8))
    if mode == "P":
        image = Image.new("P", (8, 8), 1)
        image.putpalette([0, 0, 0, 200, 0, 0])
        image.paste(0, (0, 0, 4, 8))
        return saved(image, "gif", transparency=1)
    if mode == "RGB":
        image = image.convert("RGB")
        return saved(image, "png", transparency=(200, 0, 0))
    if mode == "L":
        grey = image.convert("L")
        return saved(grey, "png", transparency=grey.getpixel((7, 7)))
    return saved(image.convert(mode), "png")


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "RGB", "L"])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_transparent_image_lies_on_white(mode, channels):
    pixels = image_array(data(channels=channels), hidden(mode))
    assert (pixels[:, :, :4] == 0).all() and (pixels[:, :, 4:] == 255).all()


def test_half_transparent_is_half_white_and_opaque_stays_as_it_was():
    half = Image.new("RGBA", (8, 8), (0, 100, 200, 51))
    assert as_array(half, data(channels=3))[:, 0, 0].tolist() == [204, 224, 244]
    random = np.random.default_rng(0).integers(0, 256, (9, 12, 4)).astype(np.uint8)
    random[..., 3] = 255
    opaque = Image.fromarray(random)
    params = data(channels=3)
    assert np.array_equal(as_array(opaque, params), as_array(opaque.convert("RGB"), params))


# --- notes ----------------------------------------------------------------------------------------


def exif(*entries: tuple, tail: bytes = b"", turn: int = 6) -> bytes:
    """Notes of one directory: first how the camera was held, then (tag, type, count, value)."""
    rows = [(0x0112, 3, 1, struct.pack("<HH", turn, 0)), *entries]
    packed = b"".join(struct.pack("<HHI", *row[:3]) + row[3] for row in rows)
    head = b"II*\0" + struct.pack("<IH", 8, len(rows))
    return b"Exif\0\0" + head + packed + bytes(4) + tail


FAR = struct.pack("<I", 8 + 2 + 2 * 12 + 4)  # where the tail of two entries lies
NOTES = {
    "xmp": b'http://ns.adobe.com/xap/1.0/\0<x:xmpmeta dc:creator="\xa8\xff" />',
    "rational": exif((0x9204, 10, 1, FAR), tail=struct.pack("<ii", -1, 0)),
    "unsigned": exif((0x011A, 5, 1, FAR), tail=struct.pack("<II", 1, 0)),
    "twice": b"Exif\0\0" + exif((0x011A, 5, 1, FAR), tail=struct.pack("<II", 72, 1)),
    "cut": exif((0x010F, 2, 4000, struct.pack("<I", 500)))[:20],
    "text": b"Exif\0\0II*\0" + struct.pack("<IHHHI", 8, 1, 0x0112, 2, 4) + b"6\0\0\0" + bytes(4),
    "length": exif((0x0101, 5, 1, FAR), tail=struct.pack("<II", 72, 1)),
    "pointer": exif((0x8769, 2, 4, b"abc\0")),
    "loop": exif((0x8769, 4, 1, struct.pack("<I", 8))),
    "profile": b"ICC_PROFILE\0\1\1no profile",
    "nothing": b"",
}


def jpeg(notes: bytes) -> bytes:
    """A photograph that is bright at its top, with notes."""
    top = np.zeros((16, 16), np.uint8)
    top[:8] = 255
    content = saved(Image.fromarray(top), "jpeg", quality=95)
    return content[:2] + b"\xff\xe1" + struct.pack(">H", len(notes) + 2) + notes + content[2:]


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
@pytest.mark.parametrize("kind", NOTES)
def test_damaged_notes_do_not_damage_an_image(kind):
    pixels = image_array(data(), jpeg(NOTES[kind]))[0]
    turned = kind in {"rational", "unsigned", "twice", "length", "pointer", "loop"}
    bright, dark = (pixels[:, 5:], pixels[:, :3]) if turned else (pixels[:3], pixels[5:])
    assert (bright > 240).all() and (dark < 15).all()


def test_no_notes_at_all_end_in_anything_but_an_image():
    random, whole = np.random.default_rng(0), NOTES["rational"]
    for _ in range(300):
        notes = bytearray(whole)
        for i in random.integers(6, len(notes), 3):
            notes[i] = random.integers(256)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's, about the notes
            assert image_array(data(), jpeg(bytes(notes))).mean() == pytest.approx(127, abs=6)


@pytest.mark.parametrize("chunk", [b"tEXt", b"zTXt", b"iCCP", b"eXIf", b"pHYs", b"iTXt", b"gAMA"])
@pytest.mark.parametrize("checksum", ["right", "wrong"])
def test_a_damaged_note_of_a_png_does_not_damage_the_image(chunk, checksum):
    whole = saved(Image.fromarray(STEPS.astype(np.uint8)), "png")
    content = b"\xff\0\xfe\0\1"
    crc = zlib.crc32(chunk + content) ^ (checksum == "wrong")
    odd = struct.pack(">I", len(content)) + chunk + content + struct.pack(">I", crc)
    found = image_array(data(), whole[:33] + odd + whole[33:])
    assert np.array_equal(found[0], STEPS)


def test_a_palette_that_is_missing_is_damage():
    """Pillow asserts that it is there."""
    with_one = saved(Image.fromarray(STEPS.astype(np.uint8)).convert("P"), "png")
    start = with_one.index(b"PLTE") - 4
    length = int.from_bytes(with_one[start : start + 4], "big")
    with pytest.raises(DAMAGED):
        image_array(data(), with_one[:start] + with_one[start + 12 + length :])


# --- shapes ---------------------------------------------------------------------------------------


def test_a_strip_and_an_image_that_claims_to_be_enormous_are_refused():
    with pytest.raises(ValueError, match="65000x1 pixels; one side is more than 100 times"):
        image_array(data(), saved(Image.new("L", (65000, 1)), "png"))
    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 0, 0, 0, 0)
    ihdr = b"IHDR" + header
    ihdr = struct.pack(">I", 13) + ihdr + struct.pack(">I", zlib.crc32(ihdr))
    whole = saved(Image.new("L", (1, 1)), "png")
    with pytest.raises(Image.DecompressionBombError):
        image_array(data(), whole[:8] + ihdr + whole[33:])


def large(kind: str = "jpeg", **options) -> bytes:
    """A picture of 64x64 with bright stripes."""
    levels = np.zeros((64, 64, 3), np.uint8)
    levels[::16] = levels[1::16] = (250, 200, 100)
    return saved(Image.fromarray(levels), kind, **options)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"exif": exif()[6:]}])
def test_a_jpeg_is_read_however_many_pixels_it_has_for_few_of_them_are_decoded(
    monkeypatch, recwarn, options
):
    content = large(**options)
    expected = image_array(data(channels=3), content)
    for most in (3000, 20):  # Pillow warns of the first, and refuses the second
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", most)
        assert np.array_equal(image_array(data(channels=3), content), expected)
    with pytest.raises(Image.DecompressionBombError):
        image_array(data(), large("png"))
    assert not recwarn.list


def test_init_looks_at_large_photographs_without_a_word(tmp_path, monkeypatch, recwarn):
    path = unpacked(tmp_path / "a", {f"{c}/{i}.jpg": large() for c in "ab" for i in range(20)})
    expected = look(str(path)).sides.tolist()
    for most in (3000, 20):
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", most)
        assert look(str(path)).sides.tolist() == expected
    assert not recwarn.list


FILL = b"\xff\xff\xe1\0\x02"  # read as a segment, it would hide what follows
CODED = {
    "line by line": large(),
    "grey": saved(Image.new("L", (64, 64), 99), "jpeg"),
    "progressive": large(progressive=True),
    "grey progressive": saved(Image.new("L", (64, 64), 99), "jpeg", progressive=True),
    "filled": FILL.join([large()[:2], large()[2:]]),
    "a colour a scan": re.sub(rb"\xff\xda..\x03", b"\xff\xda\0\x08\x01", large()),
}


@pytest.mark.parametrize("kind", CODED)
def test_a_jpeg_that_is_in_memory_whole_is_refused_if_it_is_too_large(monkeypatch, kind):
    """Whatever is made of it, a progressive one takes 6 bytes a pixel while it is decoded."""
    monkeypatch.setattr(reading, "MOST_WHOLE", 4000)
    if kind in {"line by line", "grey"}:
        assert image_array(data(), CODED[kind]).shape == (1, 8, 8)
    else:
        with pytest.raises(ValueError, match=r"64x64 pixels in several scans .* than 4,000"):
            image_array(data(), CODED[kind])


def test_a_file_that_is_a_program_is_refused_before_another_program_runs_it(tmp_path, monkeypatch):
    """Pillow hands PostScript to Ghostscript, if that is there."""
    ran, ghostscript = tmp_path / "ran", tmp_path / "gs"
    ghostscript.write_text(f"#!/bin/sh\ntouch {ran}\n")
    ghostscript.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr(EpsImagePlugin, "gs_binary", None)  # what Pillow found before
    with pytest.raises(ValueError, match=r"EPS, which is a program, .* save it as PNG or JPEG"):
        image_array(data(), saved(Image.new("L", (8, 8)), "eps"))
    assert not ran.exists()


# 64 x 48 pixels: red and green above blue and white; and the same with a note that it is to be
# turned to the right
PHONE = """
AAAAHGZ0eXBoZWljAAAAAG1pZjFoZWljbWlhZgAAAX1tZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAAAAAAAAAA
AAAAACJpbG9jAAAAAERAAAEAAQAAAAABoQABAAAAAAAAAMgAAAAjaWluZgAAAAAAAQAAABVpbmZlAgAAAAABAABodmMxAAAA
AA5waXRtAAAAAAABAAAA/WlwcnAAAADdaXBjbwAAAHZodmNDAQNwAAAAkAAAAAAAHvAA/P34+AAADwNgAAEAGEABDAH//wNw
AAADAJAAAAMAAAMAHroCQGEAAQAqQgEBA3AAAAMAkAAAAwAAAwAeoCCBBZbq5Ka5uAhoMCAAAAMDIAAAAwAhYgABAAZEAcFz
wIkAAAATY29scm5jbHgAAQANAAaAAAAAFGlzcGUAAAAAAAAAQAAAAEAAAAAoY2xhcAAAAEAAAAABAAAAMAAAAAEAAAAAAAAA
Av////AAAAACAAAAEHBpeGkAAAAAAwgICAAAABhpcG1hAAAAAAAAAAEAAQWBAgMFhAAAANBtZGF0AAAAxCgBrwngITip//It
3/8THZe5lyeVp79Y//0Qb70Nb/4im3R+ja83/wcjvzB+/42uxMLJ8XaY7YuHrWnwCKa/vLpY1g6IbDPDDwnlv4uCvs8j8IAR
eOw8ae7SO8KbIGJ8EFMJfy19V+H0gnj23XLezNlyYvkM1EER+AY258yfhj5S6d6zQ75CRPrHm+/alWsdkne3mO3LZlrRMb7j
LZGuiHwJO1Lu0FhFdTp3z72KmpvwhicD7m/Vos3dRml5TTfJt8YJXfA=
"""
TURNED = """
AAAAHGZ0eXBoZWljAAAAAG1pZjFoZWljbWlhZgAAAchtZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAAAAAAAAAA
AAAAADRpbG9jAAAAAERAAAIAAQAAAAAB7AABAAAAAAAAAMgAAgAAAAACtAABAAAAAAAAACQAAAA4aWluZgAAAAAAAgAAABVp
bmZlAgAAAAABAABodmMxAAAAABVpbmZlAgAAAQACAABFeGlmAAAAAA5waXRtAAAAAAABAAABB2lwcnAAAADmaXBjbwAAAHZo
dmNDAQNwAAAAkAAAAAAAHvAA/P34+AAADwNgAAEAGEABDAH//wNwAAADAJAAAAMAAAMAHroCQGEAAQAqQgEBA3AAAAMAkAAA
AwAAAwAeoCCBBZbq5Ka5uAhoMCAAAAMDIAAAAwAhYgABAAZEAcFzwIkAAAATY29scm5jbHgAAQANAAaAAAAAFGlzcGUAAAAA
AAAAQAAAAEAAAAAoY2xhcAAAAEAAAAABAAAAMAAAAAEAAAAAAAAAAv////AAAAACAAAAEHBpeGkAAAAAAwgICAAAAAlpcm90
AwAAABlpcG1hAAAAAAAAAAEAAQaBAgMFhIYAAAAaaXJlZgAAAAAAAAAOY2RzYwACAAEAAQAAAPRtZGF0AAAAxCgBrwngITip
//It3/8THZe5lyeVp79Y//0Qb70Nb/4im3R+ja83/wcjvzB+/42uxMLJ8XaY7YuHrWnwCKa/vLpY1g6IbDPDDwnlv4uCvs8j
8IAReOw8ae7SO8KbIGJ8EFMJfy19V+H0gnj23XLezNlyYvkM1EER+AY258yfhj5S6d6zQ75CRPrHm+/alWsdkne3mO3LZlrR
Mb7jLZGuiHwJO1Lu0FhFdTp3z72KmpvwhicD7m/Vos3dRml5TTfJt8YJXfAAAAAGRXhpZgAATU0AKgAAAAgAAQESAAMAAAAB
AAYAAAAAAAA=
"""


@pytest.mark.parametrize(
    ("photo", "corners"),
    [
        (PHONE, [(220, 30, 30), (30, 200, 30), (30, 30, 220), (230, 230, 230)]),
        (TURNED, [(30, 30, 220), (220, 30, 30), (230, 230, 230), (30, 200, 30)]),
    ],
)
def test_a_photograph_of_a_phone_is_read_upright(photo, corners):
    image = image_array(data(channels=3), b64decode(photo))
    found = [image[:, y, x] for y in (1, -2) for x in (1, -2)]
    assert np.abs(np.array(found, int) - corners).max() < 25


@pytest.mark.parametrize("brand", [b"heic", b"mif1"])
def test_a_damaged_photograph_of_a_phone_is_none(brand):
    whole = b64decode(PHONE)
    for content in (b"\0\0\0\x18ftyp" + brand + bytes(40), whole[:-40], whole[: len(whole) // 2]):
        with pytest.raises(DAMAGED):
            image_array(data(), content)


def test_why_a_photograph_of_a_phone_cannot_be_read_is_one_line():
    """libheif's own reasons have several."""
    cut = b64decode(PHONE)[:-40]
    with pytest.raises(DAMAGED, match="\n"):
        image_array(data(), cut)
    [why] = intake.look(data(), False, [(0, cut)])[3].values()
    assert "\n" not in why and "end of file" in why


@pytest.mark.parametrize("brand", [b"heic", b"heix", b"mif1", b"avif"])
def test_a_photograph_of_a_phone_is_known_by_its_beginning(brand):
    assert reason("odd", b"\0\0\0\x18ftyp" + brand) == ""


def test_without_the_plugin_a_photograph_of_a_phone_is_refused_with_what_reads_it(
    tmp_path, monkeypatch
):
    monkeypatch.setitem(sys.modules, "pi_heif", None)
    monkeypatch.setattr(Image, "OPEN", {k: v for k, v in Image.OPEN.items() if k != "HEIF"})
    monkeypatch.setattr(Image, "ID", [name for name in Image.ID if name != "HEIF"])
    said = "HEIC is not read here: `pip install pi-heif`, or save it as JPEG"
    with pytest.raises(ValueError, match=said):
        image_array(data(), b64decode(PHONE))
    files = {f"{c}/{i}.png": picture(i) for c in ("ant", "bee") for i in range(30)}
    unpacked(tmp_path / "a", files | {"bee/30.heic": b64decode(PHONE)})
    some = data(most_skipped=0.5).model_copy(update={"source": "a"})
    with pytest.raises(ValueError, match=said):  # the images are sound: none is left out
        intake.take(some, readers.find(some, tmp_path))
    with pytest.raises(ValueError, match=said):
        look(str(tmp_path / "a"))
