"""Figures of scale follow from what is measured, which is of the run it says."""

from __future__ import annotations

import pytest

from workbench.bench.scale import CORPUS, GROUPS, LAST_ROUTER, compute, measure

SMALL = {
    "vocab_size": 64, "hidden_size": 32, "num_attention_heads": 2, "moe_dim": 4, "moe_heads": 2, "moe_experts": 16,
    "moe_topk": 4,
}  # fmt: skip
MEASURED = {
    "layer_us": 20_000.0, "router_us": 5_000.0, "keep_us": 1_000.0, "group_bytes": 500.0, "token_bytes": 4.0,
    "merge_ms": 800.0, "save_ms": 200.0, "state_bytes": 1e8, "padded_bytes": 5_500.0,
    "parquet_us": 16.0, "index_us": 26.0,
}  # fmt: skip


def test_small_models_are_measured() -> None:
    found = measure(64, SMALL, ray=False)
    assert set(found) == set(MEASURED) | {"tokens"}
    assert 0 < found["token_bytes"] < found["group_bytes"]
    assert found["padded_bytes"] > 2 * 2 * (4 + 6)  # two key sets, two heads: a count, and an entry at least
    assert found["state_bytes"] > 16**2 * 8 * (2 * 14 + 20)  # counts, masses and histograms alone


def test_hours_and_terabytes_add_up() -> None:
    figures = compute(MEASURED)
    seconds = (LAST_ROUTER * 20_000 + GROUPS * (5_000 + 1_000)) / 1e6  # of a core, a token
    assert figures["tokens_s_core"] == pytest.approx(1 / seconds)
    assert figures["core_hours"] == pytest.approx(CORPUS * seconds / 3600)
    assert figures["terabytes"] == pytest.approx(10 * 3.004)
    assert figures["terabytes_tokens_only"] == pytest.approx(0.04)
    assert figures["driver_part_s"] == pytest.approx(6)
    # as many cores make a part in the time that the driver takes for one
    assert figures["most_cores_262144"] == pytest.approx(262_144 * seconds / 6)


def test_operations_are_those_of_the_paper_s_model() -> None:
    """Each weight of the layers up to the last router is multiplied once a token."""
    layer = 4 * 2048 * 2048 + 2 * 512 * 16 * 2048
    router = 2 * 8 * 512 * 2048
    assert compute(MEASURED)["gflop_token"] == pytest.approx(2e-9 * (20 * layer + 6 * router))
