"""The errors a user can act on, one class per kind: the message names the thing, what was expected and what to do.

docs/errors/ has a page for each: symptom, cause, fix.
"""

from __future__ import annotations


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
