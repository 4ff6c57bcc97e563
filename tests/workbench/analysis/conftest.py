"""Models and runs for the analyses: the golden checkpoints, what they export, and random models of any shape."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset

from monet_model import MonetConfig, MonetForCausalLM
from workbench.export import export_run
from workbench.store import Run, open_run

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

DENSE: dict[str, Any] = {"intermediate_size": 20, "hidden_act": "silu"}  # what every mixed model has
MIXED: dict[str, dict[str, Any]] = {
    "dense-around-and-between": DENSE | {"num_hidden_layers": 6, "dense_layers": [0, 2, 5], "moe_groups": 1},
    "dense-within-a-group": DENSE | {"num_hidden_layers": 5, "dense_layers": [1, 2], "mlp_bias": True},
}
SHAPES = {
    "one-group-a-layer": {"moe_groups": 1},
    "one-group": {"moe_groups": 4},
    "ragged-groups": {"num_hidden_layers": 5, "moe_groups": 2},
    "grouped-kv-heads": {"num_key_value_heads": 1},
    "attention-bias": {"attention_bias": True},
    "tied": {"tie_word_embeddings": True},
    "wide-heads": {"head_dim": 10},
    "one-head-many-units": {"moe_heads": 1, "moe_dim": 12, "moe_experts": 13},
    "many-keys": {"moe_experts": 40, "moe_topk": 9, "moe_heads": 4},
    **MIXED,
}

torch.set_num_threads(1)


@pytest.fixture(scope="session", params=["tiny-vd", "tiny-hd"])
def golden(request: pytest.FixtureRequest) -> MonetForCausalLM:
    """Each golden model in turn, in evaluation mode."""
    return MonetForCausalLM.from_pretrained(GOLDEN / request.param).eval()


@pytest.fixture(params=SHAPES.values(), ids=SHAPES)
def shape(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Each shape in turn: fields of a configuration that take a path of their own somewhere."""
    fields: dict[str, Any] = request.param
    return fields


@pytest.fixture(params=MIXED.values(), ids=MIXED)
def mixed(request: pytest.FixtureRequest, make_model: Callable[..., MonetForCausalLM]) -> MonetForCausalLM:
    """A random mixed model: dense layers below, between, within and above the groups of layers with experts."""
    return make_model(moe_decompose="horizontal", **request.param)


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


LABELS = {"ada": (10, 50), "c": (40, 80), "lisp": (70, 120)}  # label -> the token ids its documents draw from


@pytest.fixture(scope="session", params=["tiny-vd", "tiny-hd"])
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, MonetForCausalLM]:
    """A run of each golden model over documents of three labels that share few tokens, and the model."""
    folder = tmp_path_factory.mktemp(request.param)
    rng = np.random.default_rng(7)
    rows = [
        {"input_ids": [1, *rng.integers(low, high, rng.integers(5, 150)).tolist()], "label": label}
        for label, (low, high) in LABELS.items()
        for _ in range(6)
    ]
    rows += [{"input_ids": [1], "label": "c"}, {"input_ids": [1, 44], "label": "c"}, {"input_ids": [9], "label": "ada"}]
    Dataset.from_list(rows).to_parquet(folder / "corpus.parquet")
    export_run(GOLDEN / request.param, folder / "corpus.parquet", folder / "run")
    return folder / "run", MonetForCausalLM.from_pretrained(GOLDEN / request.param).eval()


@pytest.fixture
def run(exported: tuple[Path, MonetForCausalLM], tmp_path: Path) -> Run:
    """The run of ``exported``, in a copy that a test may add to."""
    return open_run(shutil.copytree(exported[0], tmp_path / "run"))


@pytest.fixture
def model(exported: tuple[Path, MonetForCausalLM]) -> MonetForCausalLM:
    """The model of ``exported``."""
    return exported[1]
