"""Queries of a run are timed, its disk is counted, and the result is shown."""

from __future__ import annotations

import pytest

from workbench.bench import beside, queries
from workbench.bench.tables import bench_tables
from workbench.errors import WorkbenchError
from workbench.store import open_run


def test_the_bench_measures_and_shows_every_question(small_run, tmp_path, monkeypatch) -> None:
    for name, few in (("PAGES", 5), ("RANDOM", 5), ("BUSIEST", 2), ("WARM_UP", 1)):
        monkeypatch.setattr(queries, name, few)
    run = open_run(small_run)
    result = queries.bench_run(run)
    assert [query["calls"] for query in result["queries"]] == [5, 5, 4, 2 * 8 * 4]
    for query in result["queries"]:
        assert query["p50_ms"] <= query["p95_ms"] <= query["worst_ms"]
        assert query["limit_ms"] in (50, 500, 200)
    files = [file for file in small_run.rglob("*") if file.is_file()]
    assert result["disk"]["all"]["bytes"] == sum(file.stat().st_size for file in files)
    of_routing = sum(file.stat().st_size for file in (small_run / "routing").iterdir())
    assert result["disk"]["routing"] == {"bytes": of_routing, "bytes_a_token": of_routing / 240}
    tables = bench_tables(result | {"beside": beside.bench_beside(run, tmp_path)})
    for _, head, rows in tables:
        assert rows
        assert all(len(row) == len(head) for row in rows)


def test_a_run_that_cannot_be_opened_says_why(tmp_path) -> None:
    with pytest.raises(WorkbenchError, match="there is no run at"):
        queries.opening(tmp_path / "nothing")
