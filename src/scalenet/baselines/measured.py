"""What every baseline is measured as."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from scalenet.records.predictions import Predictions
from scalenet.training.loop import History


class Measured(NamedTuple):
    """A baseline that was fitted: what it is and what it says of select and test.

    ``name`` is that of files, ``about`` words for a table; ``images`` it was fitted on. A network
    has ``steps``, ``flops`` (multiply-accumulates of one image) and ``params``. ``curves`` are the
    loss curves behind it, by the name of the training.
    """

    name: str
    about: str
    images: int
    answers: Mapping[str, Predictions]
    steps: int | None = None
    flops: int | None = None
    params: int | None = None
    curves: Mapping[str, History] = {}
