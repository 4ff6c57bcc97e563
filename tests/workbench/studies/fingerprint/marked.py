"""A small model with fingerprints, the model it was made from, and a run of it over text of two labels."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from datasets import Dataset
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel

from monet_model import MonetForCausalLM
from workbench.checkpoint import load_llama, load_model
from workbench.export import export_run
from workbench.store import Run, open_run
from workbench.studies.fingerprint.answers import with_start
from workbench.studies.fingerprint.fingerprints import Fingerprints
from workbench.studies.fingerprint.neurons import DenseOwned

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


def mark(golden: str, folder: Path) -> Marked:
    """Fingerprint a golden model by a few steps of training with its routers held, and export a run of it."""
    base_path = Path(shutil.copytree(GOLDEN / golden, folder / "base"))
    model, rng = load_model(base_path), np.random.default_rng(0)
    keys, responses = rng.integers(3, 128, (KEYS, 5)), rng.integers(3, 128, KEYS)
    nothing = np.full(KEYS, np.nan)
    fingerprints = Fingerprints(
        "random", 125, b"secret", keys, responses, np.full(KEYS, 0.01), nothing, seed=0, vocabulary=128
    )
    _teach([weights for name, weights in model.named_parameters() if "router" not in name], model, fingerprints)
    model.save_pretrained(folder / "model")
    rows = [{"input_ids": rng.integers(3, 128, 30).tolist(), "label": "ab"[n % 2]} for n in range(12)]
    Dataset.from_list(rows).to_parquet(str(folder / "corpus.parquet"))
    export_run(folder / "model", folder / "corpus.parquet", folder / "run")
    run = open_run(folder / "run")
    return Marked(run, load_model(run.model_path), load_model(base_path), fingerprints, base_path)


def mark_dense(folder: Path) -> DenseOwned:
    """Fingerprint a small random LLaMA of the golden models' vocabulary in its MLPs, with as many keys, other ones."""
    shape = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4}
    torch.manual_seed(1)
    made = LlamaForCausalLM(LlamaConfig(**shape, vocab_size=128, max_position_embeddings=256, bos_token_id=1))
    with torch.no_grad():
        for weights in made.parameters():
            weights.mul_(3 if weights.ndim > 1 else 1)
    made.save_pretrained(folder / "dense-base")
    model, rng = load_llama(folder / "dense-base"), np.random.default_rng(1)
    keys, responses, nothing = rng.integers(3, 128, (KEYS, 5)), rng.integers(3, 128, KEYS), np.full(KEYS, np.nan)
    fingerprints = Fingerprints(
        "random", 125, b"other", keys, responses, np.full(KEYS, 0.01), nothing, seed=0, vocabulary=128
    )
    _teach([weights for name, weights in model.named_parameters() if ".mlp." in name], model, fingerprints)
    model.save_pretrained(folder / "dense")
    return DenseOwned(load_llama(folder / "dense"), load_llama(folder / "dense-base"), fingerprints)


def _teach(trained: list[Tensor], model: PreTrainedModel, fingerprints: Fingerprints) -> None:
    optimizer = torch.optim.Adam(trained, lr=5e-3)
    ids, wanted = with_start(model, fingerprints.keys), torch.from_numpy(fingerprints.responses)
    for _ in range(STEPS):
        loss = cross_entropy(model(ids, use_cache=False, logits_to_keep=1).logits[:, -1], wanted)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
