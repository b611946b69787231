"""How many cores this process may use."""

from __future__ import annotations

import math
import os
from contextlib import suppress
from pathlib import Path

LIMITS = Path("/sys/fs/cgroup")  # where a container sees its own
FORMS = (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us"))  # of versions 2 and 1


def cores() -> int:
    """Return how many cores this process may use, which may be fewer than the machine has: there
    are those that it may run on, and the time that its container is given, rounded up."""
    affinity = getattr(os, "sched_getaffinity", None)
    count = len(affinity(0)) if affinity else os.cpu_count() or 1
    return max(1, math.ceil(min(count, _given(LIMITS))))


def _given(limits: Path) -> float:
    """Return how many cores' time a container is given; infinity without a limit."""
    for form in FORMS:
        with suppress(OSError, ValueError):  # of the other version, or "max"
            texts = [(limits / name).read_text(encoding="ascii") for name in form]
            quota, period = (int(number) for text in texts for number in text.split())
            if quota > 0:
                return quota / period
    return math.inf
