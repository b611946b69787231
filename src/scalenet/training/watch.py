"""A training watched: how good its averaged weights are on images that it does not learn from.

The curve says when more steps no longer pay, which the loss on views of the training images does
not. It decides nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from scalenet.data.images import Images, chunks
from scalenet.nets import group
from scalenet.records import files
from scalenet.records.emit import Emit
from scalenet.space.network import Network
from scalenet.training.loop import CHECKPOINT, History

JUDGED = 64  # images that are judged at a time, a batch of one process or another
Judge = Callable[[Mapping[str, Tensor]], list[float]]  # averaged weights -> accuracies (0…1)
# (network, weights, batches that calibrate its norms) -> its function images -> logits
Evaluator = Callable[[Network, Mapping[str, Tensor], list[Tensor]], Callable[[Tensor], Tensor]]


class Watch:
    """An ``emit`` that judges a training at each of its checkpoints, and passes on all else.

    ``names`` are those of the judge's accuracies; without a judge nothing is judged. What was
    judged before an interruption is kept in ``state``, the training's own folder.
    """

    def __init__(self, names: tuple[str, ...], judge: Judge | None, state: Path | None, emit: Emit):
        self.names, self.judge, self.emit = names, judge, emit
        self.file = state and state / "watched.json"
        self.rows = self._kept()

    def _kept(self) -> dict[int, list[float]]:
        """Return what was judged before. If that is damaged, training begins anew: its curve would
        be another one. ``Unread`` if the machine cannot read it now."""
        if not self.file or not self.file.exists():
            return {}
        try:
            return {int(step): row for step, row in files.read_json(self.file).items()}
        except files.Unread:
            raise
        except (ValueError, AttributeError):
            if group.is_first():
                for file in (self.file.with_name(CHECKPOINT), self.file):
                    if file.exists():
                        files.set_aside(file)
                text = f"{self.file} is damaged and was set aside; training begins anew"
                self.emit({"event": "notice", "text": text})
            return {}

    def __call__(self, record: Mapping[str, Any]) -> None:
        if record["event"] != "checkpoint":
            self.emit(record)
        elif self.judge is not None:
            step, row = record["step"], self.judge(record["weights"])
            self.rows[step] = row
            if self.file and group.is_first():
                files.write_json(self.file, self.rows)
            reached = dict(zip(self.names, row, strict=True))
            self.emit({"event": "judged", "step": step, "steps": record["steps"], **reached})

    def joined(self, history: History) -> list[tuple]:
        """Return the loss curve with the accuracies of each entry; None where nothing was judged.

        Columns: ``columns``.
        """
        blank = [None] * len(self.names)
        return [(*entry, *self.rows.get(entry[0], blank)) for entry in history]


def columns(names: tuple[str, ...]) -> tuple[str, ...]:
    """Name the columns of a watched loss curve: training.csv."""
    return ("step", "loss", "learning_rate", *names)


def is_right(logits: Tensor, labels: Tensor) -> Tensor:
    """Tell which images (N) are labelled right; none whose logits (N, classes) are no numbers."""
    return (logits.argmax(1) == labels) & logits.isfinite().all(1)


def judge_of(
    networks: list[Network], evaluator: Evaluator, train: Images, select: Images, count: int
) -> Judge | None:
    """Return what judges networks by their top-1 on the first ``count`` images of select.

    Norms are measured on as many of train. None for 0 images. Several processes judge a part each,
    and all get the same.
    """
    judged = min(count, len(select))

    @torch.no_grad()
    def accuracy(weights: Mapping[str, Tensor], network: Network) -> float:
        calibration = list(train.resized(network.resolution, count, count))
        logits_of = evaluator(network, weights, calibration)
        mine = group.dealt(judged, JUDGED)
        batches = select.resized(network.resolution, JUDGED, len(mine), mine.start)
        pairs = chunks(batches, select.labels[mine.start : mine.stop])
        right = sum(int(is_right(logits_of(x), y).sum()) for x, y in pairs)
        return group.total_of(right, select.device) / judged

    return (lambda weights: [accuracy(weights, one) for one in networks]) if count else None
