"""Running a model over a corpus and writing a run: what all of its experts did."""

from __future__ import annotations

from ..checkpoint import load_model
from .export import export_run

__all__ = ["export_run", "load_model"]
