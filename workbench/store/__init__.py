"""Exported runs on disk: their format, reading, checking and migrating them. Knows no model."""

from __future__ import annotations

from .files import write_json, write_parquet
from .migrate import migrate_run
from .run import Run, open_run
from .verify import verify_run

__all__ = ["Run", "migrate_run", "open_run", "verify_run", "write_json", "write_parquet"]
