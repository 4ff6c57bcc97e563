"""Turns at running the model: how many requests of a process do so at once, and how many wait for that."""

from __future__ import annotations

from threading import BoundedSemaphore
from typing import TYPE_CHECKING

from flask import g, has_request_context

from ..errors import BusyError

if TYPE_CHECKING:
    from flask import Flask

AT_ONCE = 3  # requests of a process that run the model
WAITING = 3  # that wait for it; with the former less than the server's threads, so that pages are answered meanwhile
PATIENCE = 10.0  # seconds that they wait


class Turns:
    """The turns of a process. A request takes one when it first asks for the model, and has it until it is answered."""

    def __init__(self, at_once: int = AT_ONCE, waiting: int = WAITING, patience: float = PATIENCE) -> None:
        self._turns, self._places = BoundedSemaphore(at_once), BoundedSemaphore(at_once + waiting)
        self._patience = patience
        self._told = (
            f"this server runs the model for {at_once} requests at once, and others came first; try again in a few "
            "seconds."
        )

    def take(self) -> None:
        """Wait for the turn of the request that this thread answers; nothing where it has one, or answers none.

        Raises:
            BusyError: as many wait already, or it waited for too long.
        """
        if not has_request_context() or "turns" in g:
            return
        if not self._places.acquire(blocking=False):
            raise BusyError(self._told)
        if not self._turns.acquire(timeout=self._patience):
            self._places.release()
            raise BusyError(self._told)
        g.turns = self

    def _give_back(self) -> None:
        self._turns.release()
        self._places.release()


def end_turns(server: Flask) -> None:
    """Have a server end the turn of each request once that is answered, however it went."""

    def end(_: BaseException | None) -> None:
        if (turns := g.pop("turns", None)) is not None:
            turns._give_back()

    server.teardown_request(end)
