"""The autoencoder's definition and its training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import LlamaForCausalLM

from monet_model import MonetConfig
from workbench.baselines.dense import dense_config
from workbench.baselines.sae import SaeSettings, TopKSae, load_sae, residual, train_sae

TINY: dict[str, Any] = {
    "vocab_size": 128,
    "hidden_size": 16,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "max_position_embeddings": 32,
    "moe_dim": 4,
    "moe_heads": 2,
    "moe_experts": 16,
    "moe_topk": 4,
    "moe_groups": 2,
    "tie_word_embeddings": False,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 2,
}


def test_the_autoencoder_by_its_definition() -> None:
    torch.manual_seed(1)
    sae = TopKSae(6, 20, 3)
    with torch.no_grad():
        sae.scale.fill_(2.5)
        sae.bias.normal_()
    x = torch.randn(5, 6)
    a = torch.relu((x / 2.5 - sae.bias) @ sae.encoder.T)
    a = torch.where(a >= a.topk(3).values[:, -1:], a, 0)
    expected = 2.5 * (a @ sae.decoder + sae.bias)
    assert sae(x).detach().numpy() == pytest.approx(expected.detach().numpy(), abs=1e-5)


def test_training_an_autoencoder_explains_more_and_is_kept(tmp_path: Path) -> None:
    torch.manual_seed(2)
    model = LlamaForCausalLM(dense_config(MonetConfig(**TINY))).eval().requires_grad_(False)
    tokens = np.random.default_rng(0).integers(3, 128, 5000).astype(np.uint16)
    how = SaeSettings(width=64, k=4, tokens=16384, batch=8, sequence=16, lr=5e-3)
    sae = train_sae(model, tokens, tmp_path, how)
    x = residual(model, torch.from_numpy(tokens[:640].astype(np.int64)).view(-1, 16)).flatten(0, 1)

    def left(autoencoder: TopKSae) -> float:
        return float((autoencoder(x) - x).square().sum() / (x - x.mean(0)).square().sum())

    untrained = TopKSae(16, 64, 4)
    untrained.scale.copy_(sae.scale)
    assert left(sae) < 0.6 * left(untrained)
    assert sae.decoder.norm(dim=-1).detach().numpy() == pytest.approx(1, abs=1e-5)
    kept, about = load_sae(tmp_path)
    assert torch.equal(kept(x), sae(x))
    assert 0 <= about["dead"] < 1
    assert about["k"] == 4
