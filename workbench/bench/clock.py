"""Timing of queries: wall time, and the process's CPU time, which other jobs on the machine disturb less."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from time import perf_counter, process_time
from typing import Any

import numpy as np

WARM_UP = 20  # untimed calls first, which open the files


@dataclass
class Clock:
    """Times of repeated calls of one query.

    Attributes:
        query: name of the query.
        limit: milliseconds that the 95th percentile should stay below, if there is such a limit.
        wall: seconds per call by the clock.
        cpu: seconds of processor time per call.
    """

    query: str
    limit: float | None = None
    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    def time(self, ask: Callable[[], Any]) -> Any:
        """Call once, and return the answer."""
        wall, cpu = perf_counter(), process_time()
        answer = ask()
        self.cpu.append(process_time() - cpu)
        self.wall.append(perf_counter() - wall)
        return answer

    def summary(self) -> dict[str, Any]:
        """Return the number of calls and their milliseconds: median, 95th percentile and worst."""
        wall, cpu = np.array(self.wall) * 1e3, np.array(self.cpu) * 1e3
        return {
            "query": self.query,
            "calls": len(wall),
            "p50_ms": float(np.median(wall)),
            "p95_ms": float(np.quantile(wall, 0.95)),
            "worst_ms": float(wall.max()),
            "cpu_p50_ms": float(np.median(cpu)),
            "cpu_p95_ms": float(np.quantile(cpu, 0.95)),
            "limit_ms": self.limit,
        }
