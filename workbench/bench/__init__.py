"""Measuring what a run costs to keep and to ask, beside the obvious ways of keeping the same activations."""

from __future__ import annotations

from .beside import bench_beside
from .queries import bench_run

__all__ = ["bench_beside", "bench_run"]
