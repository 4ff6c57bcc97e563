"""Progress of long jobs: a bar with units done, rate and time left, or lines for a program that reads them."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from threading import current_thread, main_thread
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.text import Text

MODE, LINES = "MONET_PROGRESS", "json"  # the environment variable, and its value that asks for lines in place of bars
BETWEEN = 0.5  # seconds from one line to the next


class Progress(Protocol):
    """What a long computation calls with the units it has just finished: a bar's, or ``silent``."""

    def __call__(self, units: float = 1, note: str = "") -> None:
        """Count ``units`` more as done; ``note`` is shown after the bar."""


def silent(units: float = 1, note: str = "") -> None:
    """Progress that is not shown."""


def short(number: float) -> str:
    """Return a number in few characters, with at least two significant digits: 9999, 12k, 3440k, 56M."""
    for unit in ("", "k", "M", "G"):
        if number < 9999.5:
            return f"{number:.0f}{unit}"
        number /= 1000
    return f"{number:.0f}T"


@dataclass(frozen=True)
class Report:
    """How far a job is, as one line of JSON says it.

    Attributes:
        name: of the job.
        done, total: units done, and of all.
        unit: what is counted, in the plural.
        seconds_left: at the rate so far; None before a unit is done.
        note: what the job says of itself.

    Examples:
        >>> from workbench.progress import Report
        >>> line = Report("mask", 1, 4, "tokens", 3.0).line()
        >>> Report.read(line).done, Report.read("something else") is None
        (1, True)
    """

    name: str
    done: float
    total: float
    unit: str
    seconds_left: float | None = None
    note: str = ""

    def line(self) -> str:
        """The line, without its end."""
        return json.dumps({"progress": asdict(self)})

    @classmethod
    def read(cls, line: str) -> Report | None:
        """What a line says; None where it is none of ours."""
        if not line.startswith('{"progress":'):
            return None
        try:
            return cls(**json.loads(line)["progress"])
        except (ValueError, TypeError):  # cut off
            return None


class _Done(ProgressColumn):
    """Units done, of all units, short enough for a line of 80 characters."""

    def __init__(self, unit: str) -> None:
        super().__init__()
        self.unit = unit

    def render(self, task: Task) -> Text:
        return Text(f"{short(task.completed)}/{short(task.total or 0)} {self.unit}", style="progress.download")


class _Rate(ProgressColumn):
    """Units per second since the job was started or resumed."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("–" if speed is None else f"{short(speed)}/s", style="progress.data.speed")


@contextmanager
def job(name: str, total: int, unit: str, progress: bool = True) -> Iterator[Progress]:
    """Show progress on standard error; the context's value is called as ``advance(n, note)``.

    It is a bar, or one line of JSON (``Report``) now and then where the environment has ``MONET_PROGRESS=json``.

    Args:
        name: of the job.
        total: number of units.
        unit: what is counted, in the plural.
        progress: whether to show any; without, ``advance`` shows nothing.
    """
    if progress and os.environ.get(MODE) == LINES:
        with _lines(name, total, unit) as advance_line:
            yield advance_line
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=12),
        _Done(unit),
        _Rate(),
        TimeRemainingColumn(elapsed_when_finished=True),
        TextColumn("{task.fields[note]}"),
    )
    with Bars(*columns, console=Console(stderr=True), disable=not progress) as bars:
        task = bars.add_task(name, total=total, note="")

        def advance(units: float = 1, note: str = "") -> None:
            bars.update(task, advance=units, note=note)

        yield advance


@contextmanager
def _lines(name: str, total: int, unit: str) -> Iterator[Progress]:
    begun, told, done, said = time.monotonic(), 0.0, 0.0, ""

    def tell() -> None:
        nonlocal told
        told = time.monotonic()
        left = (told - begun) * (total - done) / done if done else None
        print(Report(name, done, total, unit, left, said).line(), file=sys.stderr, flush=True)

    def advance(units: float = 1, note: str = "") -> None:
        nonlocal done, said
        done, said = done + units, note
        if time.monotonic() - told >= BETWEEN:
            tell()

    tell()
    yield advance
    tell()


@contextmanager
def interruptible() -> Iterator[Callable[[], None]]:
    """Delay Ctrl-C until the context's value is called, which then raises KeyboardInterrupt; a second acts at once."""
    asked = False
    if current_thread() is not main_thread():  # where signals do not come
        yield lambda: None
        return

    def ask(*_: object) -> None:
        nonlocal asked
        asked = True
        signal.signal(signal.SIGINT, before)

    def check() -> None:
        if asked:
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, ask)
    try:
        yield check
    finally:
        signal.signal(signal.SIGINT, before)
