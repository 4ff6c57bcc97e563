"""Progress bars of long jobs: units done, rate and time left."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import current_thread, main_thread
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.text import Text


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
    """Show a progress bar on standard error; the context's value is called as ``advance(n, note)``.

    Args:
        name: of the job.
        total: number of units.
        unit: what is counted, in the plural.
        progress: whether to show a bar; without one, ``advance`` does nothing.
    """
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
