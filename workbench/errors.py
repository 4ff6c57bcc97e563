"""The error a user can act on: it names the thing, what was expected and what to do."""

from __future__ import annotations


class WorkbenchError(ValueError):
    """Bad input or a broken artefact. Command line and dashboard show the message alone, without a traceback."""
