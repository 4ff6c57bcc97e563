"""Rounds, medians, ratios and printing that the benches share."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from monet_model import MonetForCausalLM
from workbench import load_model
from workbench.bench import attribution, circuits, common, corpus, export, scale
from workbench.errors import BadInputError

from ...stand_in.gpu import Gpu, moved

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


@pytest.mark.parametrize("module", [attribution, circuits, corpus, export, scale])
def test_every_bench_is_run_as_its_docstring_says_and_prints_json(module: Any, capsys: Any) -> None:
    name = module.__name__.rpartition(".")[2]
    assert module.__doc__.startswith(f"`python -m workbench.bench.{name} ")
    with pytest.raises(SystemExit, match="0"):
        module.main(["--help"])
    shown = capsys.readouterr().out
    assert shown.startswith(f"usage: python -m workbench.bench.{name} ")
    assert "--json" in shown


def test_attribution_bench_measures_completeness_and_time(capsys: Any) -> None:
    options = [str(GOLDEN / "tiny-vd"), "--tokens", "6", "--prompts", "2", "--device", "cpu"]
    attribution.main([*options, "--json"])
    figures = json.loads(capsys.readouterr().out)
    assert (figures["tokens"], figures["prompts"]) == (6, 2)
    assert (figures["device"], figures["dtype"]) == ("cpu", "float32")
    assert figures["completeness"] < 1e-4
    assert figures["active_experts"] > 0
    attribution.main(options)
    shown = capsys.readouterr().out
    assert "forward pass alone" in shown
    attribution.main([*options, "--json", "--dtype", "bfloat16"])
    assert json.loads(capsys.readouterr().out)["dtype"] == "bfloat16"


@pytest.mark.parametrize("module", [attribution, circuits, export])
def test_benches_of_a_model_refuse_a_device_of_no_name(
    module: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "_apart", lambda *command: export.main(list(command)))
    monkeypatch.setattr("workbench.memory.keep_heap", lambda: None)  # for the rest of the test run
    given = [str(GOLDEN / "tiny-vd"), *([str(_corpus(tmp_path))] if module is export else [])]
    with pytest.raises(BadInputError, match="--device takes auto, cpu, cuda, cuda:N or mps; got 'gpu'"):
        module.main([*given, "--device", "gpu"])


def _corpus(folder: Path) -> Path:
    return export.make_corpus(128, 2 * export.WINDOW, folder / "corpus.parquet")


def test_export_bench_takes_device_and_dtype(tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here within one process, which the measurements otherwise start for themselves."""

    def within(*command: str) -> Any:
        export.main(list(command))
        return json.loads(capsys.readouterr().out)

    monkeypatch.setattr(export, "_apart", within)
    monkeypatch.setattr("workbench.memory.keep_heap", lambda: None)
    monkeypatch.setattr("workbench.export.export.load_model", load_model)  # which the measurement replaces
    options = ["--repeats", "1", "--device", "cpu", "--dtype", "bfloat16"]
    export.main([str(GOLDEN / "tiny-vd"), str(_corpus(tmp_path)), *options, "--json"])
    result = json.loads(capsys.readouterr().out)
    assert (result["device"], result["dtype"], result["tokens"]) == ("cpu", "bfloat16", 2 * export.WINDOW)
    assert min(result["speed"]["export"]["tokens_s"], result["speed"]["forward"]["tokens_s"]) > 0
    assert export.tables(result)[0][0].startswith("Tokens per second, over 512 tokens, in bfloat16 on cpu")


def test_prompts_are_attributed_and_traced_on_a_gpu(gpu: Gpu, monkeypatch: pytest.MonkeyPatch) -> None:
    """On one that is not there: it is waited for around each prompt, and the figures are the processor's."""
    model = MonetForCausalLM.from_pretrained(GOLDEN / "tiny-vd").eval()
    there, waits = moved(model), []
    monkeypatch.setattr(torch.accelerator, "synchronize", waits.append)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _device: "a GPU that is not there")
    for measure, figure, timed in (
        (partial(attribution.measure, tokens=6, prompts=2, seed=0), "active_experts", 2 * 2),
        (partial(circuits.measure, tokens=6, nodes=10, prompts=1, seed=0), "edges", 1 + 2),
    ):
        here = measure(model)
        waits.clear()
        with gpu.on():
            result = measure(there)
        assert waits == [there.device] * 2 * timed
        assert result["device"] == "a GPU that is not there"
        assert result[figure] == here[figure]
