"""What a member gets wrong, and how sure it is: confused pairs, calibration, images."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from scalenet.laws.intervals import wilson, worth
from scalenet.records.predictions import Predictions
from scalenet.report.style import Rows

BINS = 10  # of confidence
HARDEST = 12  # images of a split that are shown
PAIRS = 15  # pairs of classes that are listed
SIDE, SMALL = 96, 32  # px of a thumbnail at most; up to SMALL it is stored without loss


def calibration(said: Predictions, confidence: float) -> tuple[Rows, float]:
    """Return a row for each bin of confidence that has answers, and the expected error (ECE).

    ECE is the mean distance of confidence and accuracy over bins, weighted by their images:
    Guo et al. (2017), On calibration of modern neural networks, section 2.
    """
    places = np.minimum((said.probability * BINS).astype(int), BINS - 1)
    rows, error = [], 0.0
    for place in np.unique(places):
        inside = places == place
        images, right = int(inside.sum()), int(said.right[inside].sum())
        mean = float(said.probability[inside].mean())
        groups = None if said.groups is None else said.groups[inside]
        share = worth(said.right[inside], groups, confidence)
        low, high = wilson(share * right, share * images, confidence)
        error += images / len(places) * abs(right / images - mean)
        rows.append({"confidence": mean, "right": right / images, "images": images, "low": low,
                     "high": high})  # fmt: skip
    return rows, error


def confused(counts: Sequence[tuple[str, str, int]]) -> Rows:
    """Return the pairs of classes that are confused most; ``share`` is of the true class."""
    totals: dict[str, int] = {}
    for true, _, count in counts:
        totals[true] = totals.get(true, 0) + count
    wrong = sorted((c for c in counts if c[0] != c[1]), key=lambda c: (-c[2], c[0], c[1]))
    return [
        {"true": true, "predicted": predicted, "images": n, "share": n / totals[true]}
        for true, predicted, n in wrong[:PAIRS]
    ]


def hardest(said: Predictions, pixels: np.ndarray, classes: Sequence[str]) -> list[dict[str, Any]]:
    """Return the images that are answered wrongly with most confidence, as data URIs.

    ``pixels`` are uint8 (N, C, H, W) in the order of the answers.
    """
    wrong = np.flatnonzero(~said.right)
    order = wrong[np.argsort(-said.probability[wrong], kind="stable")][:HARDEST]
    return [
        {
            "image": uri(pixels[i]),
            "number": int(i),
            "true": classes[said.labels[i]],
            "predicted": classes[said.predicted[i]],
            "confidence": float(said.probability[i]),
            "of_true": float(said.true[i]),
        }
        for i in order
    ]


def uri(pixels: np.ndarray) -> str:
    """Return an image, uint8 (C, H, W), as a data URI: PNG if it is small, else JPEG."""
    image = Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0))
    image.thumbnail((SIDE, SIDE))
    kind, content = ("png" if max(image.size) <= SMALL else "jpeg"), io.BytesIO()
    image.save(content, kind, **({"quality": 80} if kind == "jpeg" else {}))
    return f"data:image/{kind};base64,{base64.b64encode(content.getvalue()).decode()}"
