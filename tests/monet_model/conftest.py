"""Golden checkpoints, random models of any shape, and a dense float64 oracle with every expert expanded."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from monet_model import MonetConfig, MonetForCausalLM

GOLDEN = Path(__file__).parents[1] / "golden"
TINY: dict[str, Any] = {
    "vocab_size": 61,
    "hidden_size": 24,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "max_position_embeddings": 64,
    "moe_dim": 4,
    "moe_heads": 2,
    "moe_experts": 8,
    "moe_topk": 3,
    "moe_groups": 2,
    "moe_decompose": "vertical",
    "pad_token_id": None,
    "bos_token_id": 1,
    "eos_token_id": None,
}

DENSE: dict[str, Any] = {"intermediate_size": 20, "hidden_act": "silu"}  # what every mixed model has
MIXED: dict[str, dict[str, Any]] = {
    "dense-below": {"dense_layers": [0, 1]},
    "dense-above": {"dense_layers": [2, 3]},
    "dense-between-groups": {"dense_layers": [1, 2], "moe_groups": 1},
    "dense-within-a-group": {"dense_layers": [1, 2]},
    "dense-everywhere-around": {"num_hidden_layers": 6, "dense_layers": [0, 2, 5]},
}

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _compiled_anew() -> Iterator[None]:
    """What one test compiles does not count towards the limit on how often another may compile the same code."""
    yield
    if "torch._dynamo" in sys.modules:
        torch._dynamo.reset()


@dataclass(frozen=True)
class Golden:
    """A golden checkpoint: its folder, the model in evaluation mode, the outputs expected of it."""

    path: Path
    model: Any
    expected: dict[str, Tensor]


@pytest.fixture(scope="module", params=["tiny-vd", "tiny-hd"])
def golden(request: pytest.FixtureRequest) -> Golden:
    """Each golden checkpoint in turn."""
    path = GOLDEN / request.param
    model = MonetForCausalLM.from_pretrained(path).eval()
    return Golden(path, model, load_file(path / "expected.safetensors"))


def build_model(seed: int = 0, **fields: Any) -> MonetForCausalLM:
    """A random model whose biases, norm weights and running statistics are far from their initial values."""
    torch.manual_seed(seed)
    model = MonetForCausalLM(MonetConfig(**TINY | fields)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.5 / parameter.shape[-1] ** 0.5 if parameter.ndim > 1 else 0.3)
        for name, parameter in model.named_parameters():
            if "norm" in name:
                parameter.add_(1.0)
            elif "router" in name or "embed" in name:
                parameter.mul_(4.0)
        for name, buffer in model.named_buffers():
            if name.endswith("running_mean"):
                buffer.normal_(0.0, 0.2)
            elif name.endswith("running_var"):
                buffer.uniform_(0.5, 3.0)
    return model


@pytest.fixture(scope="session", params=MIXED)
def mixed_model(request: pytest.FixtureRequest) -> MonetForCausalLM:
    """A random mixed model: dense layers below, above, between or within the groups of layers with experts."""
    return build_model(**DENSE | MIXED[request.param], num_key_value_heads=2, head_dim=8)


@pytest.fixture(scope="session")
def make_model() -> Callable[..., MonetForCausalLM]:
    """``build_model``: random weights of the tiny shape, with fields replaced."""
    return build_model


def relative_error(actual: Tensor, expected: Tensor) -> float:
    """Largest difference, as a share of the expected tensor's largest magnitude."""
    assert actual.shape == expected.shape
    return float((actual.double() - expected.double()).abs().max() / expected.double().abs().max())


@pytest.fixture(scope="session")
def error() -> Callable[[Tensor, Tensor], float]:
    """``relative_error``."""
    return relative_error


class DenseOracle:
    """The architecture written out plainly in float64, all E * E experts of a layer expanded (paper, section 3)."""

    def __init__(self, model: MonetForCausalLM) -> None:
        self.config: Any = model.config
        self.weights = {name: tensor.double() for name, tensor in model.state_dict().items()}

    def _rms(self, x: Tensor, name: str) -> Tensor:
        scale = (x.square().mean(-1, keepdim=True) + self.config.rms_norm_eps).rsqrt()
        return x * scale * self.weights[f"{name}.weight"]

    def _rotate(self, x: Tensor, theta: float) -> Tensor:
        """Rotary embedding of (batch, heads, tokens, head width); halves are rotated against each other."""
        half = x.shape[-1] // 2
        frequency = theta ** (-torch.arange(half, dtype=torch.float64) / half)
        angle = torch.arange(x.shape[-2], dtype=torch.float64)[:, None] * frequency
        a, b = x[..., :half], x[..., half:]
        return torch.cat([a * angle.cos() - b * angle.sin(), b * angle.cos() + a * angle.sin()], -1)

    def attention(self, layer: int, x: Tensor) -> Tensor:
        """Causal grouped-query attention of (batch, tokens, hidden)."""
        config, at = self.config, f"model.layers.{layer}.self_attn"
        width = config.head_dim
        theta = config.rope_parameters["rope_theta"]

        def heads(name: str, count: int) -> Tensor:
            projected = x @ self.weights[f"{at}.{name}_proj.weight"].T
            return projected.unflatten(-1, (count, width)).transpose(1, 2)

        queries, values = heads("q", config.num_attention_heads), heads("v", config.num_key_value_heads)
        queries, keys = self._rotate(queries, theta), self._rotate(heads("k", config.num_key_value_heads), theta)
        share = config.num_attention_heads // config.num_key_value_heads
        keys, values = keys.repeat_interleave(share, 1), values.repeat_interleave(share, 1)
        scores = queries @ keys.mT / width**0.5
        future = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).triu(1)
        mixed = scores.masked_fill(future, float("-inf")).softmax(-1) @ values
        return mixed.transpose(1, 2).flatten(2) @ self.weights[f"{at}.o_proj.weight"].T

    def routing(self, layer: int, x: Tensor) -> tuple[Tensor, Tensor]:
        """(g1, g2) of (..., hidden): each (..., heads, keys)."""
        config, at = self.config, f"model.layers.{layer}.router"
        sigma = NormalDist().inv_cdf(1 - config.moe_topk / config.moe_experts)
        sides = []
        for side in (1, 2):
            z = (x @ self.weights[f"{at}.w{side}.weight"].T).unflatten(-1, (config.moe_heads, config.moe_experts))
            mean, var = (self.weights[f"{at}.norm{side}.running_{kind}"][:, None] for kind in ("mean", "var"))
            n = (z - mean) / (var + 1e-5).sqrt()
            threshold = torch.minimum(n.amax(-1, keepdim=True), torch.tensor(sigma, dtype=n.dtype))
            weight = z.sub(z.amax(-1, keepdim=True)).exp() * (n >= threshold)
            sides.append(weight / weight.sum(-1, keepdim=True))
        return sides[0], sides[1]

    def all_experts(self, layer: int, x: Tensor) -> Tensor:
        """E_ij(x) of every expert: (..., E, E, hidden)."""
        config, at = self.config, f"model.layers.{layer}.moe"
        keys, w = config.moe_experts, self.weights

        def hidden(name: str) -> Tensor:
            return (x @ w[f"{at}.{name}.weight"].T + w[f"{at}.{name}.bias"]).relu().square().unflatten(-1, (keys, -1))

        def out(name: str) -> Tensor:
            return w[f"{at}.{name}.weight"].unflatten(-1, (keys, -1))  # (out, keys, units)

        if config.moe_decompose == "horizontal":
            values = torch.einsum("djm,...im->...ijd", out("v"), hidden("u"))
            return values + w[f"{at}.b"]
        a1, a2 = hidden("u1"), hidden("u2")
        left = torch.einsum("dim,...im->...id", out("v11"), a1)[..., :, None, :] + w[f"{at}.b1"][:, None]
        left = left + torch.einsum("dim,...jm->...ijd", out("v12"), a2)
        right = torch.einsum("djm,...jm->...jd", out("v22"), a2)[..., None, :, :] + w[f"{at}.b2"]
        right = right + torch.einsum("djm,...im->...ijd", out("v21"), a1)
        return torch.cat([left, right], -1)

    def moe(self, layer: int, x: Tensor, g1: Tensor, g2: Tensor, factors: Tensor | None = None) -> Tensor:
        """Expert-layer output: every expert, weighted by its score and its factor, then summed."""
        score = torch.einsum("...hi,...hj->...ij", g1, g2)
        if factors is not None:
            score = score * factors.double()
        return torch.einsum("...ij,...ijd->...d", score, self.all_experts(layer, x))

    def mlp(self, layer: int, x: Tensor) -> Tensor:
        """Output of a dense layer's gated MLP, whose activation is the logistic-weighted identity."""
        gate, up, down = (
            self.weights[f"model.layers.{layer}.mlp.{name}_proj.weight"] for name in ("gate", "up", "down")
        )
        gated = x @ gate.T
        return (gated / (1 + (-gated).exp()) * (x @ up.T)) @ down.T

    def __call__(self, input_ids: Tensor, edits: Mapping[int, Tensor] | None = None) -> Tensor:
        """Logits (batch, tokens, vocabulary), under edits as ``edit_experts`` takes them."""
        config = self.config
        x = self.weights["model.embed_tokens.weight"][input_ids]
        owner = {layer: group[0] for group in config.routing_groups for layer in group}
        for layer in range(config.num_hidden_layers):
            at = f"model.layers.{layer}"
            x = x + self.attention(layer, self._rms(x, f"{at}.input_layernorm"))
            normed = self._rms(x, f"{at}.post_attention_layernorm")
            if layer not in owner:
                x = x + self.mlp(layer, normed)
                continue
            if layer == owner[layer]:
                g1, g2 = self.routing(layer, normed)
            x = x + self.moe(layer, normed, g1, g2, (edits or {}).get(owner[layer]))
        head = "model.embed_tokens" if config.tie_word_embeddings else "lm_head"
        return self._rms(x, "model.norm") @ self.weights[f"{head}.weight"].T


@pytest.fixture(scope="session")
def oracle() -> Callable[[MonetForCausalLM], DenseOracle]:
    """Makes the ``DenseOracle`` of a model."""
    return DenseOracle
