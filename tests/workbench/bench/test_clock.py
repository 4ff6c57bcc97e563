"""Timing of queries."""

from __future__ import annotations

import pytest

from workbench.bench.clock import Clock


def test_clock_summarises_calls() -> None:
    clock = Clock("a question", 50)
    assert [clock.time(lambda value=value: value) for value in (3, None)] == [3, None]
    clock.wall, clock.cpu = [0.001] * 95 + [0.2] * 5, [0.002] * 100
    summary = clock.summary()
    assert (summary["calls"], summary["p50_ms"], summary["worst_ms"]) == (100, 1, 200)
    assert 1 < summary["p95_ms"] < 200
    assert summary["cpu_p95_ms"] == pytest.approx(2)
