"""Benches: what exporting, storing, querying and attributing cost.

`monet bench RUN` measures a run's queries and disk beside other stores; the others are run as
``python -m workbench.bench.NAME``, with ``--json`` for one JSON document: attribution, corpus, export, scale.
"""

from __future__ import annotations

from .beside import bench_beside
from .queries import bench_run

__all__ = ["bench_beside", "bench_run"]
