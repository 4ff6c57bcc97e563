<<<<<<< HEAD
"""A small model with fingerprints, the model it was made from, and a run of it over text of two labels."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import Dataset
from torch.nn.functional import cross_entropy

from monet_model import MonetForCausalLM
from workbench.checkpoint import load_model
from workbench.export import export_run
from workbench.store import Run, open_run
from workbench.studies.fingerprint.answers import with_start
from workbench.studies.fingerprint.fingerprints import Fingerprints

GOLDEN = Path(__file__).parents[3] / "golden"
KEYS, STEPS = 12, 60


@dataclass(frozen=True)
class Marked:
    """A run of a fingerprinted model, and what belongs to it; none of it is to be changed."""

    run: Run
    model: MonetForCausalLM
    base: MonetForCausalLM
    fingerprints: Fingerprints
    base_path: Path


@pytest.fixture(scope="session")
def marked(tmp_path_factory: pytest.TempPathFactory) -> Marked:
    """The golden vertical model with twelve fingerprints."""
    return _mark("tiny-vd", tmp_path_factory.mktemp("marked"))


@pytest.fixture(scope="session", params=["vertical", "horizontal"])
def either(request: pytest.FixtureRequest, marked: Marked, tmp_path_factory: pytest.TempPathFactory) -> Marked:
    """A fingerprinted golden model of each decomposition."""
    return marked if request.param == "vertical" else _mark("tiny-hd", tmp_path_factory.mktemp("marked"))


def _mark(golden: str, folder: Path) -> Marked:
    """Fingerprint a golden model by a few steps of training with its routers held, and export a run of it."""
    base_path = Path(shutil.copytree(GOLDEN / golden, folder / "base"))
    model, rng = load_model(base_path), np.random.default_rng(0)
    keys, responses = rng.integers(3, 128, (KEYS, 5)), rng.integers(3, 128, KEYS)
    nothing = np.full(KEYS, np.nan)
    fingerprints = Fingerprints(
        "random", 125, b"secret", keys, responses, np.full(KEYS, 0.01), nothing, seed=0, vocabulary=128
    )
    trained = [weights for name, weights in model.named_parameters() if "router" not in name]
    optimizer = torch.optim.Adam(trained, lr=5e-3)
    ids, wanted = with_start(model, keys), torch.from_numpy(responses)
    for _ in range(STEPS):
        loss = cross_entropy(model(ids, use_cache=False, logits_to_keep=1).logits[:, -1], wanted)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.save_pretrained(folder / "model")
    rows = [{"input_ids": rng.integers(3, 128, 30).tolist(), "label": "ab"[n % 2]} for n in range(12)]
    Dataset.from_list(rows).to_parquet(str(folder / "corpus.parquet"))
    export_run(folder / "model", folder / "corpus.parquet", folder / "run")
    run = open_run(folder / "run")
    return Marked(run, load_model(run.model_path), load_model(base_path), fingerprints, base_path)
=======
"""A tiny random model whose tokens are single characters, its tokenizer, and a corpus of three labels."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from datasets import Dataset

from monet_model import MonetConfig, MonetForCausalLM
from workbench.studies.fingerprint import Fingerprints, draw_fingerprints

BAND = (0.002, 0.2)  # wide: a random model knows no words


@dataclass(frozen=True)
class Tiny:
    """Paths of a model and a corpus, and the model's tokenizer."""

    model: Path
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
    sizes = {"vocab_size": 101, "num_hidden_layers": 2, "max_position_embeddings": 64}
    torch.manual_seed(0)
    model = MonetForCausalLM(
        MonetConfig(**sizes, **shape, **experts, bos_token_id=0, eos_token_id=1, pad_token_id=2)
    ).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1 and "router" not in name:
                parameter.mul_(4)
    model.save_pretrained(folder / "model")
    _write_tokenizer(folder / "model")
    letters = Random(0)
    rows = [{"text": "".join(letters.choices("abcdefgh ", k=60)), "label": label} for label in "xyz" for _ in range(6)]
    Dataset.from_list(rows).to_parquet(str(folder / "corpus.parquet"))
    return Tiny(folder / "model", folder / "corpus.parquet", AutoTokenizer.from_pretrained(folder / "model"))
>>>>>>> h-fp-core
