"""A start from the super-supernet of another project, in whose space and sizes training goes on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from scalenet.config import params as config
from scalenet.config.params import Params
from scalenet.config.space import Scalings
from scalenet.pipeline.init import write
from scalenet.pipeline.init.drafts import Drafts
from scalenet.pipeline.init.frame import Frame, frame_of
from scalenet.pipeline.init.recipes import Choice, Choices, Needs
from scalenet.pipeline.init.sizes import FEWEST, LARGEST
from scalenet.records import files
from scalenet.records.documents import DataInfo
from scalenet.records.paths import Paths
from scalenet.space.budget import Budget

TRAIN = "`scalenet run --target supernet`"


class Start(NamedTuple):
    """Where a project starts from: another's folder as it was given and its params, the weights as
    the new project's folder names them, the digest of their content, and what they were trained on.
    """

    folder: str
    params: Params
    weights: str
    sha256: str
    info: DataInfo

    @property
    def saw(self) -> str:
        """What the weights were trained on."""
        return f"{self.info.counts['train']:,} images of {len(self.info.classes):,} classes"


def read(folder: str, root: Path) -> Start:
    """Read the project that one in ``root`` starts from.

    ``ValueError`` if it is none, or its super-supernet is not trained, or of other params.
    """
    paths = Paths(Path(folder))
    if not (paths.root / "params.yaml").exists():
        raise ValueError(
            f"--start {folder}: there is no params.yaml in it; give the folder of a project whose "
            f"super-supernet is trained ({TRAIN} there trains it)"
        )
    params = config.load(paths.root / "params.yaml")
    weights = paths.supernet / "weights.pt"
    if not (weights.exists() and (paths.data / "info.json").exists()):
        raise ValueError(
            f"--start {folder}: its super-supernet is not trained, or its artifacts are not here; "
            f"run {TRAIN} there first (or `dvc pull`, where they were pushed)"
        )
    _check(folder, params, weights)
    name = write.name_in(root, weights)
    return Start(folder, params, name, files.sha256(weights), paths.info())


def _check(folder: str, params: Params, weights: Path) -> None:
    """Refuse weights that are none of these params."""
    import torch  # seconds of imports, after cheap refusals

    from scalenet.nets import elastic, inherit

    source = elastic.read(weights)
    made = elastic.build(
        params.space, params.scaling, source.task, params.supernet.coupling, torch.Generator()
    )
    try:
        inherit.supernet(made, source)
    except ValueError as error:
        raise ValueError(
            f"--start {folder}: its params.yaml was changed since its super-supernet was trained;"
            f" run {TRAIN} there"
        ) from error


class Started(Drafts):
    """Drafts in the space of the super-supernet that training starts from, with the first of its
    searched sizes."""

    @property
    def there(self) -> Params:
        """The params of the project that has it."""
        return self.wish.start.params

    @cached_property
    def frame(self) -> Frame:
        base = self.there.scaling.stages[0].resolutions[0]
        stride = self.there.space.stem.stride
        return replace(
            frame_of(self.seen.side, self.there.data.size), base=base, stem_stride=stride
        )

    def usual(self) -> Iterator[Needs]:
        offered = self.there.scaling.stages[:LARGEST]
        for sizes in range(len(offered), min(FEWEST, len(offered)) - 1, -1):
            scaling = self.there.scaling.model_copy(update={"stages": offered[:sizes]})
            self._check(scaling)
            yield Needs(self.frame, self.there.space, scaling, self.shares)

    def _check(self, scaling: Scalings) -> None:
        """Refuse budgets that networks for these images do not meet."""
        try:
            budget = Budget(self.there.space, scaling, self.task)
            budget.check(np.random.default_rng(0))
        except ValueError as error:
            raise ValueError(
                f"--start {self.wish.start.folder}: its budgets do not serve {self.task.classes:,} "
                f"classes ({error}); leave --start out"
            ) from error

    def larger(self) -> Iterator[Needs]:
        return iter(())  # its super-supernet holds none

    def choices(self) -> Choices:
        start = self.wish.start
        why = f"from {start.folder}, trained on {start.saw}; space and sizes are as there"
        init = {"file": start.weights, "sha256": start.sha256}
        space = self.there.space.model_dump(mode="json")
        return {f"space.{key}": Choice(value) for key, value in space.items()} | {
            "supernet.init": Choice(init, why),
            "supernet.coupling": Choice(self.there.supernet.coupling),
        }
