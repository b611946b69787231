"""Notes beside the pixels of a PNG or a JPEG: what a damaged one can be read without."""

from __future__ import annotations

import struct

PNG = b"\x89PNG\r\n\x1a\n"
PNG_PIXELS = {b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"}
JPEG = b"\xff\xd8"
JPEG_SCAN = 0xDA  # from there on a JPEG is pixels
JPEG_NOTES = {0xFE, *range(0xE1, 0xF0)} - {0xEE}  # comments, APPn; APP14 tells the colours


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
    kept, place = [JPEG], len(JPEG)
    while content[place : place + 1] == b"\xff" and content[place + 1] != JPEG_SCAN:
        (length,) = struct.unpack_from(">H", content, place + 2)
        if content[place + 1] not in JPEG_NOTES:
            kept.append(content[place : place + 2 + length])
        place += 2 + length
    return b"".join([*kept, content[place:]])
