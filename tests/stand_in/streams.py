"""Streams of a GPU that is not there, each as late as it may be: its work is done when the host waits for it.

So a copy that is read too early has not been made, and one that does not wait for what it copies finds nothing there.
Other work of the stand-in (``gpu``) is done at once, unless a test enqueues it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch

from .gpu import Gpu


class Stream:
    """Work in order, of which the first ``done`` tasks are done."""

    def __init__(self, _device: torch.device | None = None) -> None:
        self.work: list[Callable[[], Any]] = []
        self.done = 0

    def enqueue(self, task: Callable[[], Any]) -> None:
        """Give it work."""
        self.work.append(task)

    def run(self, until: int) -> None:
        """Do its first ``until`` tasks."""
        while self.done < until:
            self.done += 1
            self.work[self.done - 1]()

    def wait_stream(self, other: Stream) -> None:
        """Do nothing more before another stream has done what it was given so far."""
        until = len(other.work)
        self.enqueue(lambda: other.run(until))


class Event:
    """A mark in a stream's work."""

    def record(self, stream: Stream) -> None:
        """Set the mark behind what the stream was given so far."""
        self.stream, self.until = stream, len(stream.work)

    def synchronize(self) -> None:
        """Wait for what is before it."""
        self.stream.run(self.until)


class Streams:
    """The streams of a program.

    Attributes:
        compute: where work goes that names no stream.
        current: where work goes now.
    """

    def __init__(self) -> None:
        self.compute = self.current = Stream()

    @contextmanager
    def on(self, stream: Stream) -> Iterator[None]:
        """Inside this context work goes to that stream."""
        before, self.current = self.current, stream
        try:
            yield
        finally:
            self.current = before


def install(monkeypatch: pytest.MonkeyPatch, gpu: Gpu) -> Streams:
    """Give a stand-in streams: copies to the host that are not waited for are made by the current one, when it runs."""
    streams = Streams()
    gpu.copying = lambda copy: streams.current.enqueue(copy)
    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "stream", streams.on)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda _device=None: streams.current)
    return streams
