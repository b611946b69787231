"""A run in a terminal: a few lines that stay in place, redrawn as it goes on."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from threading import Thread
from typing import Any, TextIO

from rich.console import Console, ConsoleDimensions, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from scalenet.pipeline.watch import lines
from scalenet.pipeline.watch.progress import (
    CACHED,
    DONE,
    FAILED,
    RUNNING,
    STOPPED,
    WAITING,
    Progress,
    Work,
)
from scalenet.records.written import counted

PER_SECOND = 4  # redrawings
PATIENCE = 2  # seconds that the last lines of other processes may take
BAR = 10  # columns of a bar
MIDDLE = 64  # columns from which on there is room for a bar
MARKS = {WAITING: ("·", "dim"), RUNNING: ("▸", "cyan"), DONE: ("✓", "green"), CACHED: ("✓", "dim"),
         FAILED: ("✗", "red"), STOPPED: ("■", "yellow")}  # fmt: skip
SPOKEN = ("read", "notice")  # events whose texts are said above the display


def wanted(stream: TextIO) -> bool:
    """Tell whether a stream is a terminal that can redraw."""
    return stream.isatty() and os.environ.get("TERM", "") not in ("", "dumb")


# --- what is drawn --------------------------------------------------------------------------------


class Terminal(Console):
    """A console whose size is that of its own terminal, whatever the other streams are."""

    @property
    def size(self) -> ConsoleDimensions:
        found = os.get_terminal_size(self.file.fileno())
        return ConsoleDimensions(found.columns or 80, found.lines or 25)


class View:
    """A run as rich draws it: in as many columns and lines as there are."""

    def __init__(self, progress: Progress):
        self.progress = progress

    def __rich_console__(self, console: Console, options: Any) -> Iterator[RenderableType]:
        yield self.drawn(options.max_width, console.size.height)

    def drawn(self, width: int, height: int) -> RenderableType:
        """Return the heading and a line for each stage, or for those that matter if there are
        more stages than lines."""
        shown, hidden = self._shown(height - 3)
        barred, table = width >= MIDDLE, Table.grid(padding=(0, 1))
        for name in ("mark", "stage", "time", *["bar"] * barred):
            table.add_column(no_wrap=True, justify="right" if name == "time" else "left")
        names = max((len(work.name) for work in shown), default=0)
        room = width - len("▸  ~12:30  ") - names - barred * (BAR + 1)  # for figures
        table.add_column(no_wrap=True, overflow="ellipsis", max_width=max(8, room))
        for work in shown:
            table.add_row(*self._row(work, barred, room))
        below = [f"and {hidden} more"] * bool(hidden) + [self.progress.closing]
        said = [
            Text(f"  {line}", "dim", overflow="ellipsis", no_wrap=True) for line in below if line
        ]
        return Group(self._heading(), table, *said)

    def _shown(self, most: int) -> tuple[list[Work], int]:
        """Return the stages to draw: all, or those that run or failed and the next ones."""
        works = list(self.progress.works.values())
        if len(works) <= max(most, 4):
            return works, 0
        rank = {RUNNING: 0, FAILED: 1, STOPPED: 1, WAITING: 2, DONE: 3, CACHED: 4}
        chosen = sorted(works, key=lambda work: rank[work.state])[: max(most - 1, 4)]
        kept = [work for work in works if work in chosen]
        return kept, len(works) - len(kept)

    def _heading(self) -> Text:
        works = self.progress.works.values()
        done = sum(work.state in (DONE, CACHED) for work in works)
        text = Text(no_wrap=True, overflow="ellipsis")
        text.append(f"{done} of {counted(len(works), 'stage')}", "bold")
        text.append(f"  {lines.clock(self.progress.passed())}")
        left, unknown = self.progress.left()
        if left:
            text.append(f", {lines.about(left)} left")
        if unknown:
            text.append(
                f"{' and ' if left else ', '}{counted(unknown, 'stage')} never timed", "dim"
            )
        return text

    def _row(self, work: Work, barred: bool, room: int) -> list[RenderableType]:
        mark, style = MARKS[work.state]
        row = [Text(mark, style), Text(work.name, "bold" if work.state == RUNNING else style)]
        row.append(Text(self._time(work), "dim"))
        if barred:
            row.append(self._bar(work))
        return [*row, self._figures(work, room)]

    def _time(self, work: Work) -> str:
        if work.state == RUNNING:
            return lines.clock(self.progress.clock() - work.began)
        if work.state == WAITING:
            return "" if work.expected is None else f"~{lines.clock(work.expected)}"
        return lines.clock(work.seconds) if work.state == DONE else ""

    def _bar(self, work: Work) -> RenderableType:
        share = work.fraction()
        if work.state != RUNNING or share is None:
            return Text("")
        return ProgressBar(total=1.0, completed=share, width=BAR)

    def _figures(self, work: Work, room: int) -> Text:
        """Return as many of a stage's figures as there is room for, the first at least."""
        if work.state == CACHED:
            return Text("up to date", "dim")
        if work.state == FAILED:
            return Text(work.why.partition("\n")[0], "red")
        if work.state == STOPPED:
            return Text(lines.ended(work), "yellow")
        found = lines.reached(work) if work.state == DONE else lines.figures(work)
        left = work.left(self.progress.clock()) if work.state == RUNNING else None
        found += [] if left is None else [f"{lines.about(left)} left"]
        while len(found) > 1 and len("  ".join(found)) > room:
            found.pop()
        return Text("  ".join(found), "dim" if work.state == DONE else "")


# --- drawing it -----------------------------------------------------------------------------------


@contextmanager
def drawn(progress: Progress) -> Iterator[None]:
    """Draw a run in the terminal behind standard error while the body runs.

    What anybody else writes meanwhile, other processes too, comes out above it, line by line. The
    terminal is left as it was, with the last state of the run in it.
    """
    with diverted() as (terminal, said):
        console = Terminal(file=terminal)
        streams = {"redirect_stdout": False, "redirect_stderr": False}
        live = Live(View(progress), console=console, refresh_per_second=PER_SECOND, **streams)
        live.vertical_overflow = "crop"
        reader = Thread(target=_pass_on, args=(said, console), daemon=True)
        reader.start()
        with live, progress.listening(partial(_spoken, console)):
            yield
    reader.join(PATIENCE)  # what was written last is shown too
    terminal.close()


def _spoken(console: Console, work: Work, record: Mapping[str, Any]) -> None:
    """Say what a stage notes above the display."""
    if record["event"] in SPOKEN:
        text = record.get("summary") or record["text"]
        console.print(f"{work.name}: {text}", markup=False, highlight=False)


def _pass_on(said: TextIO, console: Console) -> None:
    """Print what was written elsewhere, until nobody can write any more."""
    with said:
        for line in said:
            if line.strip():
                console.print(line.rstrip("\n"), markup=False, highlight=False)


@contextmanager
def diverted() -> Iterator[tuple[TextIO, TextIO]]:
    """Divert standard error, and output if it is a terminal, to a pipe; yield the terminal and the
    pipe's other end, which are to be closed."""
    sys.stdout.flush()
    sys.stderr.flush()
    kept = {number: os.dup(number) for number in (1, 2) if os.isatty(number)}
    reading, writing = os.pipe()
    for number in kept:
        os.dup2(writing, number)
    os.close(writing)
    how = {"encoding": sys.stderr.encoding, "errors": "replace"}
    try:
        yield os.fdopen(os.dup(kept[2]), "w", **how), os.fdopen(reading, **how)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for number, descriptor in kept.items():
            os.dup2(descriptor, number)
            os.close(descriptor)
