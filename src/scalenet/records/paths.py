"""Where the documents that stages exchange lie."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Paths:
    """Where every artifact lies under the project's root."""

    root: Path

    @property
    def artifacts(self) -> Path:
        return self.root / "artifacts"

    @property
    def data(self) -> Path:
        return self.artifacts / "data"

    @property
    def supernet(self) -> Path:
        return self.artifacts / "supernet"

    @property
    def search(self) -> Path:
        return self.artifacts / "search"

    @property
    def law(self) -> Path:
        return self.artifacts / "law"

    @property
    def plan(self) -> Path:
        return self.artifacts / "plan"

    @property
    def family(self) -> Path:
        return self.artifacts / "family"

    @property
    def members(self) -> Path:
        return self.artifacts / "members"

    def member(self, name: str) -> Path:
        return self.members / name

    def state(self, stage: str) -> Path:
        """The folder an interrupted stage resumes from, removed once all it made is delivered; DVC does not know it."""
        return self.root / ".state" / stage
