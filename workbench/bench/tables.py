"""The results of `monet bench` as tables."""

from __future__ import annotations

from typing import Any

from .common import Table


def bench_tables(result: dict[str, Any]) -> list[Table]:
    """Titles, heads and rows of what `monet bench` measured."""
    return [_queries(result), _disk(result), *_beside(result["beside"])]


def _queries(result: dict[str, Any]) -> Table:
    opened = result["opening"]
    rows = [
        [
            "opening",
            "1",
            *(f"{opened['ms']:,.1f}" for _ in range(3)),
            *(f"{opened['cpu_ms']:,.1f}" for _ in range(2)),
            f"{opened['limit_ms']:,.0f}",
        ]
    ]
    for query in result["queries"]:
        times = ("p50_ms", "p95_ms", "worst_ms", "cpu_p50_ms", "cpu_p95_ms")
        rows.append(
            [query["query"], f"{query['calls']:,}", *(f"{query[t]:,.1f}" for t in times), f"{query['limit_ms']:,.0f}"]
        )
    title = (
        f"Milliseconds, warm, on {result['tokens']:,} tokens and {result['groups']} groups (opening takes "
        f"{opened['mb']:,.0f} MB beside the {opened['libraries_mb']:,.0f} MB of the libraries; limit "
        f"{opened['limit_mb']:,.0f} MB)"
    )
    return title, ["query", "calls", "p50", "p95", "worst", "CPU p50", "CPU p95", "p95 limit"], rows


def _disk(result: dict[str, Any]) -> Table:
    rows = [[name, f"{size['bytes']:,}", f"{size['bytes_a_token']:,.2f}"] for name, size in result["disk"].items()]
    return "Disk", ["folder", "bytes", "bytes per token"], rows


def _beside(beside: dict[str, Any]) -> list[Table]:
    title = f"The same {beside['pairs']:,} activations of {beside['tokens']:,} tokens and one group, kept three ways"
    size, ratio = beside["bytes"], beside["bytes_ratio"]
    kept = [[name, f"{size[name]:,}", f"{size[name] / beside['tokens']:,.1f}", f"{ratio[name]:,.1f}"] for name in size]
    asked = [
        [
            name,
            store,
            f"{times[store]:,.2f}",
            f"{beside['cpu_ms'][name][store]:,.2f}",
            f"{beside['ratio'][name][store]:,.1f}",
        ]
        for name, times in beside["ms"].items()
        for store in times
    ]
    return [
        (title, ["store", "bytes", "bytes per token", "times ours"], kept),
        ("Milliseconds of a query, median", ["query", "store", "wall", "CPU", "times ours"], asked),
    ]
