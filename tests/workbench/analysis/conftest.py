"""Models for the analyses: the golden checkpoints and random ones of any shape."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from monet_model import MonetConfig, MonetForCausalLM

GOLDEN = Path(__file__).parents[2] / "golden"
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
    "pad_token_id": None,
    "bos_token_id": 1,
    "eos_token_id": None,
}

torch.set_num_threads(1)


@pytest.fixture(scope="session", params=["tiny-vd", "tiny-hd"])
def golden(request: pytest.FixtureRequest) -> MonetForCausalLM:
    """Each golden model in turn, in evaluation mode."""
    return MonetForCausalLM.from_pretrained(GOLDEN / request.param).eval()


@pytest.fixture(scope="session")
def make_model() -> Callable[..., MonetForCausalLM]:
    """Makes random models of the tiny shape, with fields replaced, in which no weight is trivial."""

    def make(seed: int = 0, **fields: Any) -> MonetForCausalLM:
        torch.manual_seed(seed)
        model = MonetForCausalLM(MonetConfig(**TINY | fields)).eval()
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                parameter.normal_(std=0.5 / parameter.shape[-1] ** 0.5 if parameter.ndim > 1 else 0.3)
                if "norm" in name:
                    parameter.add_(1.0)
                elif "router" in name or "embed" in name:
                    parameter.mul_(4.0)
        return model

    return make
