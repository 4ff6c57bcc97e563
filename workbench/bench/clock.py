"""Timing of queries: wall time, and the process's CPU time beside it, which other jobs on the machine disturb less."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from time import perf_counter, process_time
from typing import Any

import numpy as np

WARM = 20  # calls before the clock starts: files are opened then


@dataclass
class Clock:
    """Times of one query, asked again and again.

    Attributes:
        query: what is asked.
        limit: milliseconds within which 95 of 100 answers should come, if there is such a limit.
        wall, cpu: seconds of each call.
    """

    query: str
    limit: float | None = None
    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    def time(self, ask: Callable[[], Any]) -> Any:
        """Asks once, and gives the answer."""
        wall, cpu = perf_counter(), process_time()
        answer = ask()
        self.cpu.append(process_time() - cpu)
        self.wall.append(perf_counter() - wall)
        return answer

    def summary(self) -> dict[str, Any]:
        """Number of calls, and their milliseconds: median, 95th percentile and worst of wall time, of CPU time too."""
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
