"""TransformerLens' own benchmarks of an architecture on Monet: against transformers, of itself, and processed.

Its fourth phase, the quality of generated text, wants a judge from the hub.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from transformer_lens.benchmarks import run_benchmark_suite

DEMO = Path(__file__).parents[2] / "monet_model" / "demo"
PHASES = (1, 2, 3)
# By name of the benchmark.
NOT_APPLICABLE = {
    "mlp_output_centering": "an expert layer writes through products of keys, and has no output matrix to centre",
}


@pytest.mark.parametrize("phase", PHASES)
def test_transformer_lens_benchmarks_pass(phase: int) -> None:
    results = run_benchmark_suite(str(DEMO), phases=[phase], verbose=False)
    assert results
    failed = {result.name: result.message for result in results if not result.passed}
    assert {name: why for name, why in failed.items() if name not in NOT_APPLICABLE} == {}
