"""A run and a dense model with an autoencoder, all small and random."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import Dataset
from transformers import LlamaConfig, LlamaForCausalLM

from workbench import open_run
from workbench.analysis.removal.heldout import HeldOut
from workbench.analysis.windows import Windows, read_windows
from workbench.baselines.sae import TopKSae
from workbench.export import export_run
from workbench.store import Run

GOLDEN = Path(__file__).parents[2] / "golden" / "tiny-vd"
LABELS = {"ada": (10, 50), "c": (40, 80), "lisp": (70, 120)}


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("run")
    rng = np.random.default_rng(7)
    rows = [
        {"input_ids": [1, *rng.integers(low, high, rng.integers(20, 90)).tolist()], "label": label}
        for label, (low, high) in LABELS.items()
        for _ in range(6)
    ]
    Dataset.from_list(rows).to_parquet(folder / "corpus.parquet")
    export_run(GOLDEN, folder / "corpus.parquet", folder / "run")
    return open_run(folder / "run")


@pytest.fixture(scope="session")
def dense() -> LlamaForCausalLM:
    torch.manual_seed(3)
    shape = {"num_hidden_layers": 4, "num_attention_heads": 2, "hidden_size": 16, "intermediate_size": 24}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=128, max_position_embeddings=64, **shape)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=0.3)
    return model.requires_grad_(False)


@pytest.fixture(scope="session")
def sae() -> TopKSae:
    torch.manual_seed(4)
    made = TopKSae(16, 40, 5)
    with torch.no_grad():
        made.scale.fill_(3.0)
        made.bias.normal_(std=0.1)
    return made.requires_grad_(False)


@pytest.fixture
def windows(run: Run) -> Windows:
    return read_windows(run, HeldOut.split(run, 0).choosing)
