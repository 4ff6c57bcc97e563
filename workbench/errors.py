"""The errors a user can act on, one class per kind: the message names the thing, what was expected and what to do.

docs/errors/ has a page for each: symptom, cause, fix. What serves a run answers each kind with its HTTP status.
"""

from __future__ import annotations

import shlex
from typing import NamedTuple


class WorkbenchError(ValueError):
    """Base of all of them. The command line and the dashboard show the message alone, without a traceback."""


class NotFoundError(WorkbenchError):
    """The thing named does not exist: a run, a file, a group, a label, an expert, a document."""


class BadInputError(WorkbenchError):
    """A value makes no sense: a setting out of range, a text too long, an edit that cannot be read."""


class NotAnalysedError(WorkbenchError):
    """The run lacks the result asked for; the message names the command that computes it."""


class DamagedError(WorkbenchError):
    """A file exists but is not what was written: truncated, changed, or inconsistent with the others."""


class UnsupportedError(WorkbenchError):
    """The request makes sense and cannot be served here: another version or model, or a missing package."""


class BusyError(WorkbenchError):
    """What serves the run does one such thing, or a few, at a time, and is doing that many now."""


def shell_command(*words: object) -> str:
    """A `monet` command for a message, as a shell takes it: a path with blanks is quoted. Put it into backticks.

    Examples:
        >>> from workbench.errors import shell_command
        >>> shell_command("analyze", "runs/my run")
        "monet analyze 'runs/my run'"
    """
    return shlex.join(["monet", *map(str, words)])


class Kind(NamedTuple):
    """A kind of error, as it is served: its HTTP status, and the heading of the page that reports it."""

    status: int
    heading: str


KINDS: dict[type[WorkbenchError], Kind] = {
    NotFoundError: Kind(404, "Not found"),
    BadInputError: Kind(400, "Not a valid request"),
    NotAnalysedError: Kind(409, "Not analysed yet"),
    DamagedError: Kind(500, "Damaged file"),
    UnsupportedError: Kind(501, "Not supported"),
    BusyError: Kind(429, "Busy"),
    WorkbenchError: Kind(400, "Cannot be shown"),
}
UNEXPECTED = Kind(500, "Something went wrong")


def kind_of(error: Exception) -> Kind:
    """Status and heading of an error.

    Examples:
        >>> from workbench.errors import NotFoundError, kind_of
        >>> kind_of(NotFoundError("there is no label 'cobol'.")).status
        404
    """
    return next((kind for cls, kind in KINDS.items() if isinstance(error, cls)), UNEXPECTED)
