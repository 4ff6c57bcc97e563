"""Running a model over a corpus and writing what its experts did as a run."""

from __future__ import annotations

from .export import export_run
from .model import load_model

__all__ = ["export_run", "load_model"]
