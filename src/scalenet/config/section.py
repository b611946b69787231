"""What every section of params.yaml is."""

from __future__ import annotations

import pydantic


class Section(pydantic.BaseModel):
    """A part of params.yaml: frozen, complete, without unknown keys."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")
