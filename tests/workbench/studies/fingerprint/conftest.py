"""A tiny random model whose tokens are single characters, its tokenizer, and a corpus of three labels; and golden
models that have fingerprints."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from datasets import Dataset
from transformers import LlamaConfig, LlamaForCausalLM

from monet_model import MonetConfig, MonetForCausalLM
from workbench.studies.fingerprint import Fingerprints, draw_fingerprints
from workbench.studies.fingerprint.neurons import DenseOwned

from .marked import Marked, mark, mark_dense

BAND = (0.002, 0.2)  # wide: a random model knows no words


@dataclass(frozen=True)
class Tiny:
    """Paths of a model, a dense one of its tokenizer and a corpus, and the tokenizer."""

    model: Path
    dense: Path
    corpus: Path
    tokenizer: Any

    def load(self) -> MonetForCausalLM:
        """A fresh copy of the model."""
        return MonetForCausalLM.from_pretrained(self.model).eval()

    def draw(self, count: int = 24, scheme: str = "english", **options: Any) -> Fingerprints:
        """Fingerprints of it."""
        settings = {"key_tokens": 6, "band": BAND} | options
        return draw_fingerprints(self.load(), self.tokenizer, count, scheme, b"secret", **settings).fingerprints


def _write_tokenizer(folder: Path) -> None:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

    letters = [chr(code) for code in range(33, 127)] + ["Ġ", "Ċ", "ĉ"]
    vocabulary = {token: number for number, token in enumerate(["<s>", "</s>", "<pad>", *letters])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    tokenizer.add_special_tokens(["<s>", "</s>", "<pad>"])
    tokenizer.save(str(folder / "tokenizer.json"))
    names = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", **names}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """The model, on disk."""
    from transformers import AutoTokenizer

    folder = tmp_path_factory.mktemp("tiny")
    shape = {"hidden_size": 32, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8}
    experts = {"moe_dim": 4, "moe_heads": 2, "moe_experts": 16, "moe_topk": 4, "moe_groups": 2}
    sizes = {"vocab_size": 101, "num_hidden_layers": 2, "max_position_embeddings": 96}
    torch.manual_seed(0)
    model = MonetForCausalLM(
        MonetConfig(**sizes, **shape, **experts, bos_token_id=0, eos_token_id=1, pad_token_id=2)
    ).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith((".b1", ".b2")):
                parameter.normal_(0, 0.1)
            elif parameter.ndim > 1:
                parameter.mul_(9 if ".router." in name else 4)  # so that several keys are active at a token
    model.save_pretrained(folder / "model")
    _write_tokenizer(folder / "model")
    torch.manual_seed(0)
    llama = LlamaConfig(**sizes, **shape, intermediate_size=64, bos_token_id=0, eos_token_id=1, pad_token_id=2)
    dense = LlamaForCausalLM(llama).eval()
    with torch.no_grad():
        for parameter in dense.parameters():
            if parameter.ndim > 1:
                parameter.mul_(4)
    dense.save_pretrained(folder / "dense")
    _write_tokenizer(folder / "dense")
    letters = Random(0)
    rows = [{"text": "".join(letters.choices("abcdefgh ", k=60)), "label": label} for label in "xyz" for _ in range(6)]
    Dataset.from_list(rows).to_parquet(str(folder / "corpus.parquet"))
    tokenizer = AutoTokenizer.from_pretrained(folder / "model")
    return Tiny(folder / "model", folder / "dense", folder / "corpus.parquet", tokenizer)


@pytest.fixture(scope="session")
def marked(tmp_path_factory: pytest.TempPathFactory) -> Marked:
    """The golden vertical model with twelve fingerprints."""
    return mark("tiny-vd", tmp_path_factory.mktemp("marked"))


@pytest.fixture(scope="session", params=["vertical", "horizontal"])
def either(request: pytest.FixtureRequest, marked: Marked, tmp_path_factory: pytest.TempPathFactory) -> Marked:
    """A fingerprinted golden model of each decomposition."""
    return marked if request.param == "vertical" else mark("tiny-hd", tmp_path_factory.mktemp("marked"))


@pytest.fixture(scope="session")
def owned_dense(tmp_path_factory: pytest.TempPathFactory) -> DenseOwned:
    """A small dense model with twelve fingerprints."""
    return mark_dense(tmp_path_factory.mktemp("dense"))
