"""Begin a project: look, time, choose, write; what ``scalenet init`` does in this order."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from pathlib import Path

from scalenet.data.readers import BUNDLED
from scalenet.pipeline import devices
from scalenet.pipeline.init import plan, write
from scalenet.pipeline.init.design import Designer
from scalenet.pipeline.init.drafts import Wish
from scalenet.pipeline.init.look import look

SECONDS = 20  # that networks are timed for


def folder(data: str, name: str | None) -> Path:
    """Return the project's folder: NAME, or the data's name; ``ValueError`` if it is not free."""
    root = Path(name or write.name_of(data))
    there = Path(data).exists() and not write.is_bundled(data)
    if name is None and there and root.exists() and root.samefile(data):
        root = root.with_name(f"{root.name}-family")
    if there:
        _refuse_inside(root, data)
    write.check(root)
    return root


def _refuse_inside(root: Path, data: str) -> None:
    """Refuse a project in the folder of its images, as `scalenet init .` would lay it: what it
    writes would be a class, and DVC takes no folder that holds what is made of it."""
    images = Path(data).resolve()
    if not root.resolve().is_relative_to(images):
        return
    beside = os.path.relpath(images.with_name(f"{write.name_of(data)}-family"))
    raise ValueError(
        f"the project's folder {root} would be in the folder of its images, {images}, which it "
        f"cannot read then; give a NAME outside of it: `{shlex.join(['scalenet', 'init', data])} "
        f"{shlex.quote(beside)}`"
    )


def project(root: Path, data: str, wish: Wish) -> Iterator[str]:
    """Write a project for labelled images and yield its plan, a line as soon as it is known.

    ``ValueError`` for data or a wish that cannot be met; then nothing is written.
    """
    source = write.source_of(data, root)
    seen = look(source if source == BUNDLED else str(Path(data).resolve()), **wish.reading)
    designer = Designer(seen, source, wish)
    yield from plan.about(seen, designer.drafts.shares)
    if wish.max_ms is not None and wish.device is None:
        yield f"Timing    what layers take on this machine, {SECONDS} seconds"
        first = designer.params(designer.first(), 1000)[1]
        found, _ = devices.measure(first, designer.drafts.task, seconds=SECONDS)
        designer = Designer(seen, source, wish := wish._replace(device=found))
    draft = designer.first()
    yield "Timing    a few steps of training on this machine"
    from scalenet.pipeline.init.probe import probe  # seconds of imports, after cheap refusals

    rates = probe(designer.params(draft, 1000)[1], seen)
    design = designer.design(rates)
    write.lay(root, design.choices, plan.title(seen, wish), design.seconds)
    yield from plan.lines(seen, wish, design, rates)
