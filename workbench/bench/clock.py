"""Timing of queries: wall time, and the process's CPU time, which other jobs on the machine disturb less."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from time import perf_counter, process_time
from typing import TYPE_CHECKING, Any

import numpy as np

from monet_model.device import synchronize

if TYPE_CHECKING:
    import torch

WARM_UP = 20  # untimed calls first, which open the files


@dataclass
class Clock:
    """Times of repeated calls of one query.

    Attributes:
        query: name of the query.
        limit: milliseconds that the 95th percentile should stay below, if there is such a limit.
        device: of what is asked, which is waited for before and after a call; None if all is done on the processor.
        wall: seconds per call by the clock.
        cpu: seconds of processor time per call.
    """

    query: str
    limit: float | None = None
    device: torch.device | None = None
    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    def time(self, ask: Callable[[], Any]) -> Any:
        """Call once, and return the answer."""
        self._wait()
        wall, cpu = perf_counter(), process_time()
        answer = ask()
        self._wait()
        self.cpu.append(process_time() - cpu)
        self.wall.append(perf_counter() - wall)
        return answer

    def _wait(self) -> None:
        if self.device is not None:
            synchronize(self.device)

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
