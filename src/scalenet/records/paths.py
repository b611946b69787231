"""Where the documents that stages exchange lie."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from scalenet.records.documents import DataInfo, Family, Reading, Trained


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
    def baselines(self) -> Path:
        return self.artifacts / "baselines"

    @property
    def members(self) -> Path:
        return self.artifacts / "members"

    def member(self, name: str) -> Path:
        return self.members / name

    def keep(self, names: list[str]) -> None:
        """Remove plans and folders of members that left the family; DVC's cache still has them."""
        for plan in set(self.plan.glob("*.json")) - {self.plan / f"{name}.json" for name in names}:
            plan.unlink()
        for member in set(self.members.glob("*/")) - {self.member(name) for name in names}:
            shutil.rmtree(member)

    def info(self) -> DataInfo:
        """Read the description of the data."""
        return DataInfo.read(self.data / "info.json")

    def reading(self) -> Reading:
        """Read what ``prepare`` took in, and what may be wrong with it."""
        return Reading.read(self.data / "read.json")

    def trained(self, name: str) -> Trained:
        """Read what a member's training and its one test gave."""
        return Trained.read(self.member(name) / "trained.json")

    def published(self) -> Family:
        """Read the family; ``ValueError`` if it was made from other images than are prepared."""
        family = Family.read(self.family / "family.json")
        for trained in family.members:
            self.check_data(trained)
        return family

    def current(self) -> Family:
        """Read the family; ``ValueError`` also if the members that lie here are no longer its."""
        family = self.published()
        if changed := self.anew(family.members):
            raise ValueError(changed)
        return family

    def newer(self, name: str) -> str:
        """Say that a member was trained since the family was published; "" if it was not."""
        try:
            members = Family.read(self.family / "family.json").members
        except ValueError:  # none is published, or one that `scalenet family` says the faults of
            return ""
        return self.anew([trained for trained in members if trained.member.name == name])

    def anew(self, members: Sequence[Trained]) -> str:
        """Say which of a family's members were trained since it was published, by a run that was
        stopped or ended before ``publish``; "" if none was.

        A clone that pulled the family alone has no members that could have been.
        """
        names = []
        for trained in members:
            name = trained.member.name
            there = (self.member(name) / "trained.json").exists()
            if there and self.trained(name).weights != trained.weights:
                names.append(name)
        if not names:
            return ""
        was = "was" if len(names) == 1 else "were"
        return (
            f"{', '.join(names)} {was} trained anew since the family was published; "
            "`scalenet run` makes it anew"
        )

    def check_data(self, trained: Trained) -> None:
        """Refuse a member of an earlier run, which learnt from other images."""
        if trained.data != self.info().digest:
            raise ValueError(
                f"{trained.member.name} was made from other data than lie in {self.data} now; "
                "`scalenet run` makes the family anew"
            )

    def state(self, work: str, key: str = "") -> Path:
        """The folder of what a stage (or a member's training) resumes from, unknown to DVC.

        ``key`` is the hash of what the work depends on.
        """
        return self.root / ".state" / work / key
