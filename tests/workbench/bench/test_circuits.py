"""The benches of circuits: what they measure is there and holds together, on small models and runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from monet_model import MonetForCausalLM
from workbench.bench import circuit_truth, circuits
from workbench.progress import silent
from workbench.store import open_run

GOLDEN = Path(__file__).parents[2] / "golden" / "tiny-vd"


def test_tracing_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    model = MonetForCausalLM.from_pretrained(GOLDEN).eval()
    result = circuits.measure(model, tokens=6, nodes=10, prompts=2, seed=0)
    assert result["completeness"] < 1e-9
    assert 0 < result["rest_value"] < 1
    assert result["edges"] > 10
    assert circuits.tables(result)[0][0].startswith("Circuits of 2 prompts of 6 tokens, 10 nodes, in float64")
    options = ["--tokens", "5", "--nodes", "4", "--prompts", "1", "--device", "cpu", "--json"]
    circuits.main([str(GOLDEN), *options, "--dtype", "bfloat16"])
    printed = json.loads(capsys.readouterr().out)
    assert printed["nodes"] == 4
    assert (printed["device"], printed["model_dtype"], printed["dtype"]) == ("cpu", "bfloat16", "float64")
    large = circuits.measure(model, tokens=6, nodes=10, prompts=1, seed=0, dtype=torch.float32)
    assert large["dtype"] == "float32"


def test_a_random_model_takes_its_place(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    small = {"vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 4, "moe_experts": 16}
    monkeypatch.setattr(circuits, "LARGE", circuits.LARGE | small | {"moe_heads": 2, "moe_topk": 3, "moe_groups": 2})
    options = ["--large", "--tokens", "5", "--nodes", "4", "--device", "cpu", "--dtype", "bfloat16", "--json"]
    circuits.main(options)
    printed = json.loads(capsys.readouterr().out)
    assert (printed["device"], printed["model_dtype"], printed["dtype"]) == ("cpu", "bfloat16", "float32")


def test_circuits_are_held_against_ablation(run_path: Path) -> None:
    run = open_run(run_path)
    model = MonetForCausalLM.from_pretrained(run.model_path).eval()
    result = circuit_truth.measure(run, model, prompts=2, top=6, seed=0, progress=silent)
    assert result["prompts"] == 2
    assert set(result["spearman"]) == {"circuit", "gradient", "direct", "shuffled"}
    assert all(-1 <= one["low"] <= one["mean"] <= one["high"] <= 1 for one in result["spearman"].values())
    assert result["moved"]["circuit"] > result["moved"]["random"]  # what was chosen matters more than what was not
    assert 0 <= result["held"]["fraction"] <= 1
    assert len(circuit_truth.tables(result)) == 3
