"""A tiny random teacher and a corpus of two labels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from transformers import LlamaConfig, LlamaForCausalLM

from workbench.transcode import Teacher, TranscodeSettings, load_teacher
from workbench.transcode.imitate import Lesson
from workbench.transcode.pipeline import prepare

LABELS = {"low": (3, 30), "high": (20, 64)}


@pytest.fixture(scope="session")
def teacher_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(3)
    shape = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 4, "num_attention_heads": 4}
    config = LlamaConfig(**shape, num_key_value_heads=2, vocab_size=64, max_position_embeddings=64)
    model = LlamaForCausalLM(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=0.3)
    folder = tmp_path_factory.mktemp("teacher")
    model.save_pretrained(folder)
    return folder


@pytest.fixture
def teacher(teacher_path: Path) -> Teacher:
    return load_teacher(teacher_path, device="cpu")


@pytest.fixture(scope="session")
def corpus() -> Dataset:
    rng = np.random.default_rng(0)
    rows = [
        {"input_ids": rng.integers(low, high, 40).tolist(), "label": label}
        for label, (low, high) in LABELS.items()
        for _ in range(60)
    ]
    return Dataset.from_list(rows)


@pytest.fixture
def settings() -> Callable[..., TranscodeSettings]:
    """Settings of a transcoding of layers 1 and 2 in ten steps, some replaced."""

    def make(**changed: Any) -> TranscodeSettings:
        shape = {"layers": (1, 2), "experts": 32, "moe_dim": 4, "heads": 2, "topk": 4, "residual_heads": 2}
        how = {"tokens": 16 * 4 * 10, "sequence": 16, "batch": 4, "kl_batch": 4, "heldout_sequences": 3}
        often = {"eval_every": 5, "save_every": 4, "revive_every": 2, "log_every": 1, "warmup": 2}
        return TranscodeSettings(**{**shape, **how, **often, **changed})

    return make


@pytest.fixture
def lesson(teacher: Teacher, corpus: Dataset, settings: Callable[..., TranscodeSettings], tmp_path: Path) -> Lesson:
    return prepare(teacher, corpus, settings(), tmp_path / "cache", 1.0)
