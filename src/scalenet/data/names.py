"""What a file's name says: an image, a note beside images, or what a system left behind."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import PurePosixPath

SUFFIXES = {
    *(".png", ".apng", ".bmp", ".dib", ".gif", ".tif", ".tiff", ".webp", ".avif"),
    *(".heic", ".heif", ".hif"),
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".pjpeg", ".pjp", ".jp2", ".j2k", ".jpx", ".jpf"),
    *(".pbm", ".pgm", ".ppm", ".pnm", ".tga", ".pcx", ".qoi", ".ico"),
}
# what lies beside images by intention: nobody misses it
NOTES = {
    *(".txt", ".md", ".rst", ".csv", ".tsv", ".json", ".jsonl", ".xml", ".yaml", ".yml", ".toml"),
    *(".html", ".htm", ".pdf", ".log", ".cfg", ".py", ".ipynb", ".sh", ".mat", ".npz", ".dvc"),
    *(".db", ".ini", ".lnk", ".url", ".md5", ".sha256"),
}
# folders of desktops and network disks: thumbnails, waste, snapshots (names in lower case)
LEFTOVERS = {
    *("__macosx", "@eadir", "@tmp", "@recycle", "@recently-snapshot", "#recycle", "#snapshot"),
    *("$recycle.bin", "recycler", "system volume information", "lost+found", "__pycache__"),
    *("network trash folder", "temporary items", "thumbs.db", "ehthumbs.db", "desktop.ini"),
}
# how the files of an image begin, whatever they are called
MAGIC = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF87a", b"GIF89a", b"II*\0", b"MM\0*")
FTYP = (b"ftypavi", b"ftyphei", b"ftyphev", b"ftypmif", b"ftypmsf")  # after a length
HEAD = 16  # bytes that tell
LONGEST = 80  # letters of a name in a message

HIDDEN = "hidden, or left by a system"
NOTE = "no image by its suffix"
UNKNOWN = "suffix unknown"
INSIDE = (".parquet", ".arrow")  # files that hold images


def seen(name: str) -> bool:
    """Tell whether no part of a path is hidden or what a system leaves behind."""
    parts = name.split("/")
    return not any(
        part.startswith((".", "~$")) or part.lower() in LEFTOVERS or part == "Icon\r"
        for part in parts
    )


def reason(name: str, head: bytes) -> str:
    """Return why a file is no image of the source, "" if it is one; ``head`` is its beginning."""
    suffix = PurePosixPath(name).suffix.lower()
    if not seen(name):
        return HIDDEN
    if suffix in SUFFIXES or head.startswith(MAGIC):
        return ""
    if (head[:4] == b"RIFF" and head[8:12] == b"WEBP") or head[4:11] in FTYP:
        return ""
    return NOTE if suffix in NOTES else f"{UNKNOWN} ({suffix or 'none'})"


def needs_head(name: str) -> bool:
    """Tell whether a name alone says too little: its suffix is none that is known."""
    return seen(name) and PurePosixPath(name).suffix.lower() not in SUFFIXES | NOTES


def shown(name: str) -> str:
    """Return a name as text of one form: bytes that are no UTF-8 as Latin-1, accents composed.

    macOS writes é as e and an accent, others as one letter: both are one class.
    """
    raw = name.encode("utf-8", "surrogateescape")
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        text = raw.decode("latin-1")
    return unicodedata.normalize("NFC", text)


def printable(name: str) -> str:
    """Return a name for a line of text: line breaks and the like as Python writes them, a long one
    without its middle."""
    text = shown(name)
    if len(text) > LONGEST:
        text = f"{text[: LONGEST // 2]}…{text[-LONGEST // 2 + 1 :]}"
    return on_a_line(text)


def on_a_line(text: str) -> str:
    """Return a text with its line breaks and the like as Python writes them."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def few(names: Mapping[str, object] | list[str], most: int = 5) -> str:
    """Return the first few names for a message, and how many more there are; one that has a comma
    in quotes, so that it is not read as several."""
    first = [printable(name) for name in list(names)[:most]]
    first = [f'"{name}"' if "," in name else name for name in first]
    more = len(names) - len(first)
    return ", ".join(first) + (f" and {more:,} more" if more else "")


def doubtful(classes: Iterable[str]) -> Iterator[str]:
    """Yield what the names of classes say that they may be instead."""
    if alike := _twins(classes):
        yield (
            f"classes are called nearly the same ({few(alike)}): if they are one class, write it in"
            " one way, or networks are marked wrong for calling it by the other name"
        )
    if several := _joined(classes):
        yield (
            f"classes are called like several others ({few(several)}): if these are labels of one "
            "image, keep the one that matters; each such class is learnt as one of its own"
        )


def _twins(classes: Iterable[str]) -> list[str]:
    """Return the classes whose names are those of others but for case, spaces, _ and -, in order.

    Single letters are not: A and a are two glyphs.
    """
    spelt: dict[str, list[str]] = {}
    for name in classes:
        spelt.setdefault(re.sub(r"[\s_-]+", " ", name).strip().casefold(), []).append(name)
    return [name for key, alike in spelt.items() if len(key) > 1 < len(alike) for name in alike]


def _joined(classes: Iterable[str]) -> list[str]:
    """Return the classes whose names are made of others' alone: cat|dog beside cat and dog."""
    parts = {name: {part.strip(" []'") for part in re.split(r"[|;,+&]", name)} for name in classes}
    counts = Counter(part for own in parts.values() for part in own)
    return [n for n, own in parts.items() if len(own) > 1 and all(counts[p] > 1 for p in own)]


def holds_images(name: str) -> bool:
    """Tell by its name whether a file is of a kind that holds many images."""
    return name.lower().endswith(INSIDE)
