"""What analyses cost follows from what is measured on a small run."""

from __future__ import annotations

import pytest

from workbench.analysis.activations import MAX_PAIRS
from workbench.bench import analysis_cost
from workbench.bench.analysis_cost import DOCUMENT_TOKENS, EXPERTS, analysis_tables, compute_analysis, measure_analysis

SMALL = {
    "vocab_size": 64, "hidden_size": 32, "num_attention_heads": 2, "moe_dim": 4, "moe_heads": 2, "moe_experts": 16,
    "moe_topk": 4,
}  # fmt: skip
MEASURED = {
    "activations": 8000.0, "activation_us": 0.5, "activations_s": 2e6, "pass_us": 0.2, "expert_us": 30.0,
    "expert_document_us": 0.2, "routing_bytes": 1400.0, "copy_bytes": 4000.0,
}  # fmt: skip


def test_a_small_run_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(analysis_cost, "COPY_TOKENS", 500)
    monkeypatch.setattr(analysis_cost, "TEST_EXPERTS", 64)
    found = measure_analysis(SMALL, 128)
    assert set(found) == set(MEASURED)
    assert 0 < found["activations"] <= 16**2
    assert found["activations_s"] == pytest.approx(1e6 / found["activation_us"])
    assert found["copy_bytes"] <= 8 * 2 * 2 * 16  # bytes of an entry, key sets, heads, keys
    assert found["pass_us"] > 0


def test_hours_add_up() -> None:
    cost = compute_analysis(MEASURED, 10**7, 6)
    assert cost["of_activations"] == pytest.approx(6 * 10**7 * 8000 * 0.5e-6 / 3600)
    assert cost["blocks"] == pytest.approx(10**7 * 8000 / MAX_PAIRS)
    assert cost["of_passes"] == pytest.approx(6 * cost["blocks"] * 10**7 * 0.2e-6 / 3600)
    documents = 10**7 / DOCUMENT_TOKENS  # of which each half has half, tested with as many permutations
    assert cost["of_tests"] == pytest.approx(6 * EXPERTS * (3 * 30 + 2 * documents * 0.2) * 1e-6 / 3600)
    assert cost["hours"] == pytest.approx(sum(cost[part] for part in analysis_cost.PARTS))
    assert cost["read"] == pytest.approx(6 * 14)
    assert cost["copy"] == pytest.approx(2 * 40)


def test_tables_name_whole_corpora_and_samples() -> None:
    measured, computed = analysis_tables(MEASURED, 6)
    assert len(measured[2]) == 7
    names = [row[0] for row in computed[2]]
    assert names[0] == "1,000,000, all"
    assert names[-1] == "1,400,000, a sample of 100 documents of each of 14 labels"
    assert all(len(row) == len(computed[1]) for row in computed[2])
