"""Running a model over a corpus and writing what its experts did as a run."""

from __future__ import annotations

from ..checkpoint import load_model
from .export import export_run

__all__ = ["export_run", "load_model"]
