"""The progress bar of a long analysis: what is done, its rate and the time left, on the error stream."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Report = Callable[[int], None]


@contextmanager
def progress_bar(name: str, total: int, unit: str, shown: bool) -> Iterator[Report]:
    """A function to call with the number of units done since its last call."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:,.0f} of {task.total:,.0f} " + unit + ", {task.fields[rate]:,.0f}/s"),
        TimeRemainingColumn(),
    )
    begun = time.monotonic()
    with Progress(*columns, console=Console(stderr=True), disable=not shown) as bar:
        task = bar.add_task(name, total=total, rate=0.0)

        def report(units: int) -> None:
            bar.advance(task, units)
            bar.update(task, rate=bar.tasks[0].completed / (time.monotonic() - begun))

        yield report
