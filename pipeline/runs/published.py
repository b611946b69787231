"""What Prefect shows of a run: a name that says what it is, the family's table and its figure."""

from __future__ import annotations

import base64
import re
from pathlib import Path

from prefect.artifacts import create_markdown_artifact
from prefect.client.orchestration import get_client
from prefect.runtime import flow_run

from scalenet.config.params import Params
from scalenet.pipeline.models import generations
from scalenet.pipeline.remember import tracking
from scalenet.records.paths import Paths
from scalenet.report import figure, table

SHORT = 7  # digits of a revision


def name_run(params: Params, what: str) -> None:
    """Name the flow's run by its images and what it was made of, such as ``digits 2ab8ca4``."""
    with get_client(sync_client=True) as client:
        client.update_flow_run(flow_run.id, name=f"{params.data.name} {what}".strip())


def revision(root: Path) -> str:
    """Return a folder's revision, short; empty outside of git."""
    commit, _, dirty = (tracking.revision(root) or "").partition("-")
    return commit[:SHORT] + ("-" + dirty if dirty else "")


def show(root: Path, params: Params) -> None:
    """Make the family's table and figure artifacts of the flow's run."""
    family = Paths(root).published()
    key = re.sub("[^a-z0-9]+", "-", f"family-{params.data.name}".lower()).strip("-")
    drawn = base64.b64encode(figure.svg(family).encode()).decode()
    create_markdown_artifact(
        key=key,
        description=f"The family of {params.data.name}: its members and what they should beat.",
        markdown=table.markdown(family, generations.versions(root, params))
        + f"\n![accuracy against FLOPs](data:image/svg+xml;base64,{drawn})\n",
    )
