"""A job as its folder keeps it: what was asked for, and how far it came."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Self

from ..errors import DamagedError

GRACE = 10.0  # seconds from being asked to end to being made to


class State(StrEnum):
    """Where a job stands; ``lost`` is one whose server ended before it did."""

    queued = "queued"
    running = "running"
    done = "done"
    failed = "failed"
    cancelled = "cancelled"
    lost = "lost"


@dataclass(frozen=True)
class Job:
    """A `monet` command that was started from a page.

    Attributes:
        id: its number in the folder, in four digits or more; later jobs have higher ones.
        arguments: the words after `monet`; the first is the kind of job.
        state: where it stands.
        created, started, ended: seconds since 1970; None for what has not happened.
        exit_code: of the command; None until it ends, negative where a signal ended it.
    """

    id: str
    arguments: tuple[str, ...]
    state: State
    created: float
    started: float | None = None
    ended: float | None = None
    exit_code: int | None = None

    @property
    def kind(self) -> str:
        """The command, by which pages tell what it makes; kinds that are variants of one share it."""
        return self.arguments[0]

    @property
    def active(self) -> bool:
        """Whether it waits or runs."""
        return self.state in (State.queued, State.running)

    def now(self, state: State, **changes: float | None) -> Self:
        """The same job in another state."""
        return replace(self, state=state, **changes)  # type: ignore[arg-type]  # each field has a type of its own

    def text(self) -> str:
        """The job as JSON."""
        return json.dumps(asdict(self), indent=1) + "\n"

    @classmethod
    def read(cls, path: Path) -> Self:
        """The job that a file holds.

        Raises:
            DamagedError: the file holds none.
        """
        try:
            known = json.loads(path.read_text(encoding="utf-8"))
            words = tuple(map(str, known.pop("arguments")))
            return cls(**known | {"arguments": words or ("",), "state": State(known["state"])})
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DamagedError(f"{path} is no job ({error}); remove the file.") from error
