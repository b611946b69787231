"""Images that two projects share: what one was trained on is no test of what starts from it."""

from __future__ import annotations

from pathlib import Path

from scalenet.config.params import WeightsFile
from scalenet.data.photos import contents
from scalenet.records.paths import Paths

FEW = 0.01  # of select and test: copies that most sets of images have


def refuse_seen(init: WeightsFile | None, paths: Paths) -> None:
    """Refuse to start from weights that learnt from images of this project's select or test.

    That is known where the images of the project that made them lie beside them, kept as those here
    are: of the same size, raw or encoded. ``ValueError`` says how many there are.
    """
    learnt = init and _data(paths.root / init.file)
    if not learnt:
        return
    held = contents(paths.data, ("select", "test"))
    seen = held & contents(learnt, ("train",))
    if len(seen) > FEW * len(held):
        raise ValueError(
            f"supernet.init: {len(seen):,} of the {len(held):,} images of select and test are "
            f"among those that {init.file} was trained on, so neither would tell how good a member "
            "is; leave them out of one of the two projects, or give both the same data.seed, "
            "data.select_fraction and data.test_fraction: an image is then in the same split of "
            "each, unless it has a group or its split is given"
        )


def _data(weights: Path) -> Path | None:
    """Return the folder of the images that a super-supernet was trained on, if it is here. A
    scheduled run has a link to its weights."""
    places = (Paths(file.parents[2]).data for file in (weights, weights.resolve()))
    return next((place for place in places if (place / "train.npz").exists()), None)
