"""A small model with fingerprints, the model it was made from, and a run of it over text of two labels."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
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


def mark(golden: str, folder: Path) -> Marked:
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
