"""Direct logit attribution: against explicit expansion of every expert, complete on any shape, clear on bad input."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from monet_model import MonetForCausalLM, Routing
from workbench.analysis import attribute
from workbench.bench.attribution import measure
from workbench.errors import BadInputError, WorkbenchError

IDS = torch.tensor([[3, 17, 8, 44, 59, 21, 5]])
DECOMPOSITIONS = pytest.mark.parametrize("decompose", ["vertical", "horizontal"])


def expand(
    model: MonetForCausalLM, ids: Tensor, unembedding: Tensor
) -> tuple[dict[int, np.ndarray], np.ndarray, dict[int, float]]:
    """Contributions by brute force: every expert of every layer as its own routing, every attention head, every MLP.

    Returns layer -> (keys, keys), exactly 0 where inactive; (layers, heads); and dense layer -> that of its MLP.
    """
    seen: dict[int, Any] = {}
    dense: dict[int, Tensor] = {}
    heads: list[Tensor] = []
    final: list[Tensor] = []
    hooks = [model.model.norm.register_forward_pre_hook(lambda module, args: final.append(args[0][0, -1]))]
    for index, layer in enumerate(model.model.layers):

        def keep(module: Any, args: Any, out: Tensor, index: int = index) -> None:
            seen[index] = module, *args[:2]

        def keep_dense(module: Any, args: Any, out: Tensor, index: int = index) -> None:
            dense[index] = out[0, -1]

        if layer.moe is None:
            hooks.append(layer.mlp.register_forward_hook(keep_dense))
        else:
            hooks.append(layer.moe.register_forward_hook(keep))
        hooks.append(layer.self_attn.o_proj.register_forward_pre_hook(lambda _, args: heads.append(args[0][0, -1])))
    with torch.no_grad():
        model(ids)
        for hook in hooks:
            hook.remove()
        rms = (final[0].double().square().mean() + model.config.rms_norm_eps).sqrt()
        direction = unembedding.double() * model.model.norm.weight.double() / rms
        keys = model.config.moe_experts
        one = torch.eye(keys)
        i, j = one[:, None].expand(keys, keys, keys), one[None].expand(keys, keys, keys)
        tables = {}
        for index, (module, x, routing) in seen.items():
            alone = Routing.from_dense(i[..., None, :], j[..., None, :])
            each = module(x[0, -1].expand(keys, keys, -1), alone)  # E_ij(x)
            g1, g2 = routing.dense()
            score = torch.einsum("hi,hj->ij", g1[-1].double(), g2[-1].double())
            tables[index] = (score * (each.double() @ direction)).numpy()
        by_head = []
        for layer, z in zip(model.model.layers, heads, strict=True):
            weight = layer.self_attn.o_proj.weight.double().unflatten(-1, (model.config.num_attention_heads, -1))
            parts = torch.einsum("dhw,hw->hd", weight, z.double().unflatten(-1, (weight.shape[1], -1)))
            by_head.append((parts @ direction).numpy())
    return tables, np.stack(by_head), {index: float(out.double() @ direction) for index, out in dense.items()}


def grid(experts: pd.DataFrame, layer: int, keys: int) -> np.ndarray:
    """One layer's rows of ``Attribution.experts`` as (keys, keys)."""
    rows = experts[experts["layer"] == layer]
    assert rows["expert"].is_unique
    assert rows["expert"].is_monotonic_increasing
    values = np.zeros(keys * keys)
    values[rows["expert"]] = rows["contribution"]
    return values.reshape(keys, keys)


def check_against_expansion(model: MonetForCausalLM, ids: Tensor, target: int) -> None:
    """Experts and heads, one by one; an expert has a row exactly where it is active."""
    found = attribute(model, ids, target)
    tables, heads, dense = expand(model, ids, model.lm_head.weight[target])
    scale = max(np.abs(table).max() for table in tables.values())
    for layer, table in tables.items():
        assert np.abs(grid(found.experts, layer, len(table)) - table).max() < 1e-5 * scale
        assert (found.experts["layer"] == layer).sum() == np.count_nonzero(table)
    values = found.rest.set_index("component")["contribution"]
    for (layer, head), value in np.ndenumerate(heads):
        assert values[f"L{layer}H{head}"] == pytest.approx(value, abs=1e-5 * scale)
    assert [name for name in values.index if name.endswith("mlp")] == [f"L{layer}mlp" for layer in dense]
    for layer, value in dense.items():
        assert values[f"L{layer}mlp"] == pytest.approx(value, abs=1e-5 * scale)
    summary = found.summary().set_index("component")["contribution"]
    assert summary.sum() == pytest.approx(found.total)
    assert summary.get("dense layers", 0.0) == pytest.approx(sum(dense.values()), abs=1e-5)
    assert (found.experts["position"] == ids.shape[1] - 1).all()
    assert found.completeness <= 1e-4


def test_attribute_equals_explicit_expansion_on_golden_models(golden: MonetForCausalLM) -> None:
    check_against_expansion(golden, IDS, 100)


@DECOMPOSITIONS
def test_attribute_equals_explicit_expansion_on_other_shapes(
    make_model: Any, decompose: str, shape: dict[str, Any]
) -> None:
    check_against_expansion(make_model(moe_decompose=decompose, **shape), IDS, 7)


@DECOMPOSITIONS
def test_attribute_equals_explicit_expansion_under_built_in_edits(
    make_model: Any, decompose: str, tmp_path: Path
) -> None:
    """Factors that are part of the model, in both groups, after saving and loading; then a passing edit on top."""
    model = make_model(moe_decompose=decompose, tie_word_embeddings=True)
    factors = torch.rand(2, 8, 8, generator=torch.Generator().manual_seed(2)) * 2
    factors[factors < 0.5] = 0
    model.build_in({0: factors[0], 2: factors[1]})
    model.save_pretrained(tmp_path)
    loaded = MonetForCausalLM.from_pretrained(tmp_path).eval()
    assert loaded.config.edited_layers == [0, 2]
    plain = attribute(make_model(moe_decompose=decompose, tie_word_embeddings=True), IDS, 7)
    for passing in ({}, {2: factors[0]}):
        with loaded.edit_experts(passing):
            found = attribute(loaded, IDS, 7)
            tables, _, _ = expand(loaded, IDS, loaded.lm_head.weight[7])
        assert found.logit != pytest.approx(plain.logit)
        assert found.completeness <= 1e-4
        scale = max(np.abs(table).max() for table in tables.values())
        for layer, table in tables.items():
            together = factors[layer // 2] * (passing[2] if passing and layer > 1 else 1)
            expected = table * together.numpy()
            assert np.abs(grid(found.experts, layer, 8) - expected).max() < 1e-5 * scale


@given(ids=st.lists(st.integers(0, 127), min_size=1, max_size=24), target=st.integers(0, 127))
@settings(max_examples=20, deadline=None)
def test_attribute_contributions_sum_to_the_logit_of_any_prompt(
    golden: MonetForCausalLM, ids: list[int], target: int
) -> None:
    found = attribute(golden, torch.tensor([ids]), target)
    with torch.no_grad():
        assert found.logit == pytest.approx(float(golden(torch.tensor([ids])).logits[0, -1, target]), abs=1e-5)
    assert found.completeness == pytest.approx(abs(found.total - found.logit))
    assert found.completeness <= 1e-4


def test_attribute_lists_attention_bias_as_a_component(make_model: Any) -> None:
    model = make_model(attention_bias=True)
    names = list(attribute(model, IDS, 3).rest["component"])
    assert names[:6] == ["embed", "L0H0", "L0H1", "L0H2", "L0H3", "L0bias"]
    assert len(names) == 1 + 4 * 5


def test_attribute_pair_is_the_difference_of_logits(golden: MonetForCausalLM) -> None:
    first, second, both = (attribute(golden, IDS, target) for target in (4, 9, (4, 9)))
    assert both.logit == pytest.approx(first.logit - second.logit, abs=1e-6)
    difference = first.experts["contribution"] - second.experts["contribution"]
    assert np.allclose(both.experts["contribution"], difference, atol=1e-9)
    assert both.target == (4, 9)
    assert both.completeness <= 1e-4


def test_attribute_linear_function_equals_its_pair(golden: MonetForCausalLM) -> None:
    pair, function = attribute(golden, IDS, (4, 9)), attribute(golden, IDS, lambda logits: logits[4] - logits[9])
    assert np.allclose(pair.experts["contribution"], function.experts["contribution"], atol=1e-12)
    assert np.allclose(pair.rest["contribution"], function.rest["contribution"], atol=1e-12)
    assert function.logit == pytest.approx(pair.logit)
    assert function.target is None


def test_attribute_function_is_linearised_at_the_logits(golden: MonetForCausalLM) -> None:
    """The gradient of a log-probability is the target's logit less the mean logit under the model."""
    found = attribute(golden, IDS, lambda logits: logits.log_softmax(-1)[7])
    with torch.no_grad():
        logits = golden(IDS).logits[0, -1].double()
    assert found.logit == pytest.approx(float(logits[7] - logits.softmax(-1) @ logits), abs=1e-6)
    assert found.completeness <= 1e-4


def test_attribute_explains_the_likeliest_token_by_default(golden: MonetForCausalLM) -> None:
    with torch.no_grad():
        best = golden(IDS).logits[0, -1].max(-1)
    found = attribute(golden, IDS)
    assert found.target == int(best.indices)
    assert found.logit == pytest.approx(float(best.values))


def test_attribute_takes_numpy_and_tensor_targets(golden: MonetForCausalLM) -> None:
    assert attribute(golden, IDS, np.int64(7)).target == attribute(golden, IDS, torch.tensor(7)).target == 7


@DECOMPOSITIONS
def test_attribute_counts_edits_in_force(make_model: Any, decompose: str) -> None:
    model = make_model(moe_decompose=decompose)
    plain = attribute(model, IDS, 3)
    gone, doubled = plain.experts.query("layer == 2")["expert"].iloc[[0, 1]]
    factors = torch.ones(64)
    factors[gone], factors[doubled] = 0, 2
    with model.edit_experts({2: factors.view(8, 8)}):
        edited = attribute(model, IDS, 3)
        with torch.no_grad():
            assert edited.logit == pytest.approx(float(model(IDS).logits[0, -1, 3]), abs=1e-6)
    assert edited.completeness <= 1e-4
    assert edited.logit != pytest.approx(plain.logit)
    rows = edited.experts.set_index(["layer", "expert"])["contribution"]
    assert (2, gone) not in rows.index
    assert (3, gone) not in rows.index
    assert (2, doubled) in rows.index


def test_attribution_top_ranks_by_magnitude(golden: MonetForCausalLM) -> None:
    found = attribute(golden, IDS, 100)
    top = found.top(5)
    largest = found.experts["contribution"].abs().nlargest(5)
    assert list(top["contribution"].abs()) == list(largest)
    assert (top["contribution"] < 0).any()
    assert (top["contribution"] > 0).any()
    assert len(found.top(10**6)) == len(found.experts)
    answer = found.to_json(3)
    assert answer["experts"] == top.head(3).to_dict("records")
    assert answer["active_experts"] == len(found.experts)


def test_attribute_leaves_other_threads_and_later_passes_alone(golden: MonetForCausalLM) -> None:
    """A forward pass of another thread, in the middle of an attribution, changes nothing; no hook stays."""
    expected = attribute(golden, IDS, 100)
    intruders = []

    def intrude(*_: Any) -> None:
        if threading.current_thread() is threading.main_thread():
            thread = threading.Thread(target=lambda: intruders.append(golden(torch.tensor([[1, 2, 3]])).logits))
            thread.start()
            thread.join()

    handle = golden.model.layers[1].register_forward_hook(intrude)
    try:
        found = attribute(golden, IDS, 100)
    finally:
        handle.remove()
    assert len(intruders) == 1
    pd.testing.assert_frame_equal(found.experts, expected.experts)
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in golden.modules())


def test_attribute_leaves_no_gradients(golden: MonetForCausalLM) -> None:
    attribute(golden, IDS, lambda logits: logits.logsumexp(-1))
    assert all(parameter.grad is None for parameter in golden.parameters())


@pytest.mark.parametrize(
    ("ids", "target", "message"),
    [
        (IDS[0], 3, r"shape \(1, tokens\), got \(7,\)"),
        ([[1, 2]], 3, r"shape \(1, tokens\), got .*list"),
        (IDS.float(), 3, "integer tensor"),
        (IDS.repeat(2, 1), 3, "a batch of 2"),
        (IDS[:, :0], 3, "no tokens"),
        (IDS.repeat(1, 10), 3, "70 tokens; the model reads at most 64"),
        (IDS + 100, 3, r"0 \.\. 127"),
        (IDS - 10, 3, r"0 \.\. 127"),
        (IDS, 128, "target 128 lies outside the vocabulary"),
        (IDS, -1, "target -1 lies outside"),
        (IDS, (3, 400), "target 400 lies outside"),
        (IDS, (1, 2, 3), "a token id, a pair of token ids or a function"),
        (IDS, "return", "a token id, a pair of token ids or a function, got 'return'"),
        (IDS, lambda logits: logits, "one number"),
        (IDS, lambda logits: 3.0, "one number"),
        (IDS, lambda logits: logits.sum().detach(), "one number"),
        (IDS, lambda logits: (logits - logits.detach()).abs().sum().sqrt(), "no finite gradient"),
    ],
)
def test_attribute_refuses_bad_input(golden: MonetForCausalLM, ids: Any, target: Any, message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        attribute(golden, ids, target)


def test_attribute_refuses_a_model_in_training_mode(make_model: Any) -> None:
    with pytest.raises(WorkbenchError, match=r"call model\.eval\(\)"):
        attribute(make_model().train(), IDS, 3)


def test_attribution_benchmark_measures_random_prompts(golden: MonetForCausalLM) -> None:
    """What `python -m workbench.bench.attribution` prints: of random prompts, the worst completeness."""
    found = measure(golden, tokens=20, prompts=3, seed=4)
    prompts = torch.randint(128, (3 + 3, 1, 20), generator=torch.Generator().manual_seed(4))[3:]
    single = [attribute(golden, ids) for ids in prompts]
    assert found["completeness"] == max(one.completeness for one in single) <= 1e-4
    assert found["active_experts"] == np.mean([len(one.experts) for one in single])
    assert (found["tokens"], found["prompts"]) == (20, 3)
