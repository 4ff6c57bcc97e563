"""A run's model and tokenizer: another checkpoint is refused, and a run without a tokenizer says so."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from monet_model import MonetForCausalLM
from workbench import open_run
from workbench.analysis.run_model import context_length, load_run_model, run_tokenizer
from workbench.errors import UnsupportedError
from workbench.store import Run


@pytest.fixture(scope="module")
def text_run(bare_run_path: Path) -> Run:
    return open_run(bare_run_path)


def test_load_run_model_is_the_run_s_in_evaluation_mode(text_run: Run) -> None:
    assert not load_run_model(text_run).training


def test_load_run_model_refuses_a_retrained_checkpoint_of_the_same_shape(text_run: Run, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(text_run.model_path, tmp_path / "model"))
    assert load_run_model(text_run, folder) is not None  # the same files elsewhere are the same model
    model = MonetForCausalLM.from_pretrained(folder)
    with torch.no_grad():
        model.lm_head.weight.add_(1e-3)  # routes exactly as before
    model.save_pretrained(folder)
    with pytest.raises(UnsupportedError, match="is not the one that"):
        load_run_model(text_run, folder)


def test_run_tokenizer_needs_one(exported: tuple[Path, MonetForCausalLM], text_run: Run) -> None:
    assert run_tokenizer(text_run) is text_run.tokenizer()
    with pytest.raises(UnsupportedError, match="has no tokenizer"):
        run_tokenizer(open_run(exported[0]))


def test_context_length_is_that_of_the_config_or_of_the_export(text_run: Run, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"max_position_embeddings": 48}))
    assert context_length(text_run) == 64
    assert context_length(text_run, tmp_path) == 48
    (tmp_path / "config.json").write_text("{}")
    assert context_length(text_run, tmp_path) == text_run.geometry.width
    assert context_length(text_run, tmp_path / "missing") == text_run.geometry.width
