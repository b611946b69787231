"""What a search has measured, in a journal: an interrupted search measures none of it again.

The search is a function of its seed and its scores. Running it again over the journal's scores is
how an interrupted search continues, to the identical result.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from scalenet.records.documents import FINALS, Candidate
from scalenet.records.emit import Emit
from scalenet.records.journal import Journal
from scalenet.search.scoring import Measure, Measurement, Measures
from scalenet.space.network import Network

Known = dict[Network, Measurement]


class Memory:
    """The journal of a search; ``emit`` is told of each record that has been added to it."""

    def __init__(self, journal: Journal, emit: Emit):
        self.journal, self.emit = journal, emit
        self.shared: Known = {}
        self.finals: Known = {}
        for record in journal.records:
            result = Measurement(record["accuracy"], record["probability"], record["seconds"])
            self._of(record["phase"])[Network.parse(record["network"])] = result

    def _of(self, phase: str) -> Known:
        return self.finals if phase in FINALS else self.shared

    def recalling(self, measures: Measures) -> Measures:
        """Return measures that are asked only for what the journal did not hold at first."""
        finals = measures.finals and _recalling(self.finals, measures.finals)
        return Measures(_recalling(self.shared, measures.shared), finals)

    def record(self, candidate: Candidate, seconds: float) -> None:
        """Add a new candidate for good, then tell of it."""
        if candidate.network not in self._of(candidate.phase):
            record = candidate.plain() | {"seconds": round(seconds, 4)}
            self.journal.append(record)
            self.emit({"event": "candidate", **record})


def _recalling(known: Known, measure: Measure) -> Measure:
    """Return a measure that knows some networks, and asks ``measure`` for all others at once."""

    def recall(networks: Sequence[Network]) -> Iterator[Measurement]:
        unknown = [network for network in networks if network not in known]
        results = zip(unknown, measure(unknown) if unknown else (), strict=True)
        for network in networks:
            yield known[network] if network in known else next(results)[1]

    return recall
