"""A new decomposition is one class and one line: model, edits, attribution and output directions work on it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from huggingface_hub.errors import StrictDataclassClassValidationError
from torch import Tensor, nn

from monet_model import MonetConfig, MonetForCausalLM
from monet_model.experts import DECOMPOSITIONS, ExpertLayer, HorizontalExperts, OutputPart
from monet_model.experts.base import activate, key_table, units_along
from workbench.analysis import attribute, attribute_gradient


class Unbiased(ExpertLayer):
    """Experts ``E_ij(x) = V_j relu2(U_i x)``: horizontal ones without any bias."""

    def __init__(self, config: MonetConfig) -> None:
        super().__init__(config)
        self.u = nn.Linear(config.hidden_size, self.keys * config.moe_dim, bias=False)
        self.v = nn.Linear(self.keys * config.moe_dim, config.hidden_size, bias=False)

    def inputs(self) -> Sequence[nn.Linear]:
        return [self.u]

    def hidden(self, x: Tensor) -> Tensor:
        return activate(self.u, x, self.keys)

    def read_out(self, *sums: Tensor) -> Tensor:
        return self.v(sums[0].flatten(-2))

    def along(self, direction: Tensor) -> tuple[Tensor, ...]:
        return units_along(direction, self.v, self.keys), direction.new_zeros(len(direction), self.keys)

    def output_parts(self, means: Sequence[Tensor]) -> list[OutputPart]:
        base = torch.zeros(self.keys, self.v.out_features, dtype=torch.float64)
        return [OutputPart(base, key_table(self.v, self.keys), means[0], by_row=False)]


SIZES = {
    "vocab_size": 31,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "max_position_embeddings": 32,
    "moe_dim": 4,
    "moe_heads": 2,
    "moe_experts": 6,
    "moe_topk": 2,
    "moe_groups": 1,
    "pad_token_id": None,
    "eos_token_id": None,
}


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> MonetForCausalLM:
    """A random model of unbiased experts."""
    monkeypatch.setitem(DECOMPOSITIONS, "unbiased", Unbiased)
    torch.manual_seed(0)
    model = MonetForCausalLM(MonetConfig(**SIZES, moe_decompose="unbiased")).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.4)
    return model


IDS = torch.tensor([[3, 1, 4, 1, 5]])


def test_unregistered_decomposition_is_refused_by_name() -> None:
    with pytest.raises(StrictDataclassClassValidationError, match="'vertical' or 'horizontal', got 'unbiased'"):
        MonetConfig(**SIZES, moe_decompose="unbiased")


def test_registered_decomposition_equals_horizontal_experts_without_bias(toy: MonetForCausalLM) -> None:
    twin = MonetForCausalLM(MonetConfig(**SIZES, moe_decompose="horizontal")).eval()
    missing, unexpected = twin.load_state_dict(toy.state_dict(), strict=False)
    assert not unexpected
    with torch.no_grad():
        for name in missing:
            twin.get_parameter(name).zero_()
        assert isinstance(twin.model.layers[0].moe, HorizontalExperts)
        torch.testing.assert_close(toy(IDS).logits, twin(IDS).logits)


def test_registered_decomposition_is_attributed_and_edited_exactly(toy: MonetForCausalLM) -> None:
    found = attribute(toy, IDS)
    assert found.completeness < 1e-5
    best = found.top(1).iloc[0]
    factors = torch.ones(6, 6)
    factors.view(-1)[int(best["expert"])] = 0
    with toy.edit_experts({int(best["layer"]): factors}):
        assert int(best["expert"]) not in set(
            attribute(toy, IDS).experts.query(f"layer == {int(best['layer'])}")["expert"]
        )
    assert len(attribute_gradient(toy, IDS, 7)) > 0


@pytest.mark.parametrize("name", ["vertical", "horizontal"])
def test_output_parts_give_the_output_of_single_experts(name: str) -> None:
    """At fixed activations, an expert routed with probability 1 writes what its keys' parts say."""
    from cuda_ext.routing import Routing

    torch.manual_seed(1)
    layer = DECOMPOSITIONS[name](MonetConfig(**SIZES, moe_decompose=name)).double()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.normal_()
        hidden = layer.hidden(torch.randn(1, 16, dtype=torch.float64))
        means = [units[0] for units in ((hidden,) if isinstance(hidden, Tensor) else hidden)]
        parts = layer.output_parts(means)
        for i, j in ((0, 5), (3, 2)):
            one = torch.eye(6, dtype=torch.float64)
            wanted = layer.combine(hidden, Routing.from_dense(one[None, None, i], one[None, None, j]))
            torch.testing.assert_close(torch.cat([part.vector(i, j) for part in parts]), wanted[0])
            lengths = torch.stack([part.squares() for part in parts]).sum(0)
            torch.testing.assert_close(lengths[i, j], wanted[0].square().sum())


@pytest.mark.parametrize("decompose", ["vertical", "horizontal"])
@pytest.mark.parametrize("tokens", [5, 200])
@torch.no_grad()
def test_hooks_inside_an_expert_layer_see_the_batch_first(make_model: Any, decompose: str, tokens: int) -> None:
    """So that tools which cut a prompt's rows out of a batch, as nnsight does, cut the right ones."""
    model = make_model(moe_decompose=decompose, max_position_embeddings=256)
    moe = model.model.layers[1].moe
    shapes: list[torch.Size] = []
    for part in moe.children():
        part.register_forward_hook(lambda _m, _i, out: shapes.append(out.shape))
    hooked = model(torch.arange(2 * tokens).view(2, tokens) % 61).logits
    assert {shape[:2] for shape in shapes} == {(2, tokens)}
    first = next(moe.children())
    first.register_forward_hook(lambda _m, _i, out: torch.cat([out[:1] * 0.5, out[1:]]))
    changed = model(torch.arange(2 * tokens).view(2, tokens) % 61).logits
    assert torch.equal(changed[1], hooked[1])
    assert not torch.equal(changed[0], hooked[0])
