"""Explanations on a GPU that is not there: the processor's, and no batch of a logit view is waited for."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch

from monet_model import MonetForCausalLM
from workbench.explain import logit_lens, self_explain
from workbench.store import Run

from ...stand_in.gpu import Gpu, moved

OF_LAYERS = 2  # layers of the expert's group
# What the ops read of a batch: of a forward pass, as in the tests of the model, and of the expert alone in each layer.
OF_BATCH = 2 * 2 + 4 + OF_LAYERS


def test_no_batch_of_a_logit_view_is_waited_for(
    gpu: Gpu, golden_run: tuple[Run, MonetForCausalLM], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, model = golden_run
    expert = int(run.top_experts(1, limit=1).index[0])
    monkeypatch.setattr(logit_lens, "BATCH_TOKENS", 64)
    rows = run.examples(1, expert, 40)["row"].to_numpy()
    batches = len(list(logit_lens._batches(run, rows)))
    assert batches > 2
    expected = logit_lens.mean_logits(run, model, [2, 3], expert, rows)
    there = moved(model)
    with gpu.on():
        found = logit_lens.mean_logits(run, there, [2, 3], expert, rows)
    assert gpu.waits == Counter(
        {
            "cuda_ext/sparse.py:read_numbers to the host": batches * OF_BATCH,
            "workbench/explain/logit_lens.py:mean_logits to the host": 1,
        }
    )
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5)


def test_one_head_with_one_key_is_a_routing_of_one_expert(golden_run: tuple[Run, MonetForCausalLM]) -> None:
    from cuda_ext import Routing

    dense = torch.eye(16)[3].expand(5, 1, -1)
    expected = Routing.from_dense(dense, dense)
    made = logit_lens._one_key(3, torch.zeros(5, 2))
    for one, other in zip(made, (expected.indices1, expected.probs1, expected.counts1), strict=True):
        assert one.dtype == other.dtype
        assert torch.equal(one, other)


def test_the_model_explains_itself(gpu: Gpu, text_run: Run) -> None:
    model = MonetForCausalLM.from_pretrained(text_run.model_path).eval()
    tokenizer = text_run.tokenizer()
    expected = self_explain(model, tokenizer, [40, 41], "X is", new_tokens=3)
    there = moved(model)
    with gpu.on():
        assert self_explain(there, tokenizer, [40, 41], "X is", new_tokens=3) == expected
