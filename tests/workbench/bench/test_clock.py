"""Timing of queries."""

from __future__ import annotations

import pytest
import torch

from workbench.bench.clock import Clock


def test_clock_summarises_calls() -> None:
    clock = Clock("a question", 50)
    assert [clock.time(lambda value=value: value) for value in (3, None)] == [3, None]
    clock.wall, clock.cpu = [0.001] * 95 + [0.2] * 5, [0.002] * 100
    summary = clock.summary()
    assert (summary["calls"], summary["p50_ms"], summary["worst_ms"]) == (100, 1, 200)
    assert 1 < summary["p95_ms"] < 200
    assert summary["cpu_p95_ms"] == pytest.approx(2)


def test_clock_waits_for_a_gpu_before_and_after_a_call(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    monkeypatch.setattr(torch.accelerator, "synchronize", lambda device: done.append(f"{device} is idle"))
    Clock("a question", device=torch.device("cuda:0")).time(lambda: done.append("asked"))
    assert done == ["cuda:0 is idle", "asked", "cuda:0 is idle"]
    for place in (None, torch.device("cpu")):
        Clock("a question", device=place).time(lambda: done.append("asked here"))
    assert done[3:] == ["asked here"] * 2
