"""Exported runs on disk: their format, reading them, checking them. Knows no model."""

from __future__ import annotations

from .files import write_json, write_parquet
from .run import Run, open_run
from .verify import verify_run

__all__ = ["Run", "open_run", "verify_run", "write_json", "write_parquet"]
