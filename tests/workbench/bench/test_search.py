"""Searches and pages are timed over HTTP, and the result is shown."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from workbench.bench import search
from workbench.store import open_run


def test_the_bench_asks_every_kind_of_search_and_page(
    run_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, few in (("ROUNDS", 1), ("FREQUENT", 3), ("OTHERS", 2)):
        monkeypatch.setattr(search, name, few)
    search.main([str(run_path), "--json"])
    found = json.loads(capsys.readouterr().out)
    run = open_run(run_path)
    assert (found["tokens"], found["experts"]) == (run.tokens_total, 2 * run.num_keys**2)
    assert set(found["searches"]) > {"experts that fire on a token", "experts of a text, by sum", "front page", "atlas"}
    assert found["searches"]["experts that fire on a token"]["calls"] == 5
    for row in found["searches"].values():
        assert row["p50_ms"] <= row["p95_ms"] <= row["worst_ms"]


def test_tokens_searched_for_go_from_the_most_frequent_to_the_rarest(run_path: Path) -> None:
    run = open_run(run_path)
    texts = search.texts_of_tokens(run)
    counts = {piece: int(count) for piece, count in zip(run.token_text(range(128)), run.token_counts, strict=True)}
    assert len(texts) == len(set(texts))
    frequent = [counts[text] for text in texts if text in counts]
    assert frequent == sorted(frequent, reverse=True)
    assert frequent[0] == max(counts.values())
