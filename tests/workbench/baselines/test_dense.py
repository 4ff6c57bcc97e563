"""Training the dense model: parameters matched, the gradient, resumption."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import LlamaForCausalLM

from monet_model import MonetConfig, MonetForCausalLM
from workbench.baselines import dense
from workbench.baselines.dense import dense_config, train_dense
from workbench.errors import BadInputError

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
HOW = {"tokens": 640, "sequence": 16, "batch": 4, "replicas": 2, "warmup": 2, "save_every": 4, "eval_every": 5}


@settings(max_examples=10, deadline=None)
@given(hidden=st.sampled_from([8, 16, 24]), experts=st.sampled_from([8, 16, 32]), tied=st.booleans())
def test_the_dense_model_is_as_large_as_the_monet(hidden: int, experts: int, tied: bool) -> None:
    monet = MonetConfig(**TINY | {"hidden_size": hidden, "moe_experts": experts, "tie_word_embeddings": tied})
    config = dense_config(monet)
    wanted = MonetForCausalLM(monet).num_parameters()
    off = abs(LlamaForCausalLM(config).num_parameters() - wanted)
    assert off <= 3 * hidden * monet.num_hidden_layers / 2  # half of what one more unit in every layer adds


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """A corpus folder whose tokenizer has one token a letter."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    letters = "abcdefghijklmnop"
    vocabulary = {token: n for n, token in enumerate(["<s>", "</s>", "<pad>", *letters])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    folder = tmp_path / "corpus"
    (folder / "tokenizer").mkdir(parents=True)
    tokenizer.save(str(folder / "tokenizer" / "tokenizer.json"))
    names = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>"}
    (folder / "tokenizer" / "tokenizer_config.json").write_text(json.dumps(names))
    rng = np.random.default_rng(0)
    for split, count in (("train", 30), ("heldout", 8)):
        texts = ["".join(rng.choice(list(letters[: 8 + 8 * (n % 2)]), 60)) for n in range(count)]
        (folder / split).mkdir()
        rows = [{"text": text, "label": "ab"[n % 2]} for n, text in enumerate(texts)]
        Dataset.from_list(rows).to_parquet(folder / split / "part-00000.parquet")
    (tmp_path / "training.json").write_text(json.dumps({"model": TINY, "training": HOW}))
    return folder


class Stop(Exception):
    """The crash of a training."""


def test_an_interrupted_training_goes_on_to_the_same_model(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "training.json"
    whole = train_dense(config, corpus, tmp_path / "whole")
    log = [json.loads(line) for line in (tmp_path / "whole" / "log.jsonl").read_text().splitlines()]
    assert log[-1]["step"] == 10
    assert set(log[-1]["heldout"]) == {"a", "b"}
    assert log[-1]["loss"] < log[0]["loss"]

    original, steps = dense._Threads.step, []

    def crash(self: Any, ids: torch.Tensor) -> float:
        if len(steps) == 6:
            raise Stop
        steps.append(ids)
        return original(self, ids)

    monkeypatch.setattr(dense._Threads, "step", crash)
    with pytest.raises(Stop):
        train_dense(config, corpus, tmp_path / "cut")
    monkeypatch.setattr(dense._Threads, "step", original)
    again = train_dense(config, corpus, tmp_path / "cut")
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name

    config.write_text(json.dumps({"model": TINY, "training": HOW | {"seed": 1}}))
    with pytest.raises(BadInputError, match="belongs to a training run with another configuration"):
        train_dense(config, corpus, tmp_path / "cut")


def test_threads_leave_the_gradient_of_the_whole_batch() -> None:
    torch.manual_seed(0)
    model = LlamaForCausalLM(dense_config(MonetConfig(**TINY)))
    ids = torch.randint(3, 128, (4, 16))
    loss = model(input_ids=ids, labels=ids).loss
    expected = torch.autograd.grad(loss, list(model.parameters()))
    assert dense._Threads(model, 2, autocast=False).step(ids) == pytest.approx(float(loss), rel=1e-5)
    for parameter, gradient in zip(model.parameters(), expected, strict=True):
        assert parameter.grad.numpy() == pytest.approx(gradient.numpy(), abs=1e-5)
