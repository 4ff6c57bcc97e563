"""Long work started from a page: `monet` commands that run one at a time beside the server, and what became of them."""

from __future__ import annotations

from .job import Job, State
from .kinds import KINDS, Kind, Request
from .queue import Jobs

__all__ = ["KINDS", "Job", "Jobs", "Kind", "Request", "State"]
