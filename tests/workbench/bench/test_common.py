"""Rounds, medians, ratios and printing that the benches share."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from workbench.bench import attribution, common, corpus, export, scale

GOLDEN = Path(__file__).parents[2] / "golden"


def test_rounds_are_taken_in_turn() -> None:
    calls: list[tuple[str, int]] = []

    def note(name: str, turn: int) -> dict[str, int]:
        calls.append((name, turn))
        return {"value": turn}

    rows = common.take_turns({"a": lambda turn: note("a", turn), "b": lambda turn: note("b", turn)}, 2)
    assert calls == [("a", 0), ("b", 0), ("a", 1), ("b", 1)]
    assert rows == {"a": [{"value": 0}, {"value": 1}], "b": [{"value": 0}, {"value": 1}]}


def test_median_ratio_compares_within_rounds() -> None:
    """Not the ratio of medians, which a slow round of one of them shifts."""
    rows, others = [{"s": 2.0}, {"s": 40.0}, {"s": 3.0}], [{"s": 1.0}, {"s": 20.0}, {"s": 10.0}]
    assert common.median_of(rows, "s") == 3
    assert common.median_ratio(rows, others, "s") == 2


def test_print_result_prints_one_document_or_aligned_tables(capsys: Any) -> None:
    table = ("Title", ["store", "bytes"], [["ours", "12"], ["a long name", "3,456"]])
    common.print_result({"a": 1}, [table], True)
    assert json.loads(capsys.readouterr().out) == {"a": 1}
    common.print_result({"a": 1}, [table], False)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Title"
    assert lines[1:] == ["  store        bytes", "  ours            12", "  a long name  3,456"]


@pytest.mark.parametrize("module", [attribution, corpus, export, scale])
def test_every_bench_is_run_as_its_docstring_says_and_prints_json(module: Any, capsys: Any) -> None:
    name = module.__name__.rpartition(".")[2]
    assert module.__doc__.startswith(f"`python -m workbench.bench.{name} ")
    with pytest.raises(SystemExit, match="0"):
        module.main(["--help"])
    shown = capsys.readouterr().out
    assert shown.startswith(f"usage: python -m workbench.bench.{name} ")
    assert "--json" in shown


def test_attribution_bench_measures_completeness_and_time(capsys: Any) -> None:
    options = [str(GOLDEN / "tiny-vd"), "--tokens", "6", "--prompts", "2"]
    attribution.main([*options, "--json"])
    figures = json.loads(capsys.readouterr().out)
    assert (figures["tokens"], figures["prompts"]) == (6, 2)
    assert figures["completeness"] < 1e-4
    assert figures["active_experts"] > 0
    attribution.main(options)
    shown = capsys.readouterr().out
    assert "forward pass alone" in shown
