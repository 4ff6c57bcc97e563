"""The shipped dense model and autoencoder: what the step `ship` rounds, and what the figures were measured on."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import LlamaForCausalLM

from workbench.baselines import __main__ as steps
from workbench.baselines import read_baselines
from workbench.baselines.dense import load_dense
from workbench.baselines.results import MODELS
from workbench.baselines.sae import TopKSae, load_sae, save_sae
from workbench.errors import NotFoundError


def test_what_is_shipped_is_the_training_rounded(
    dense: LlamaForCausalLM, sae: TopKSae, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work, shipped = tmp_path / "work", tmp_path / "models"
    dense.save_pretrained(work / "dense")
    (work / "dense" / steps.LOG).write_text('{"tokens": 1}\n', encoding="utf-8")
    (work / "dense" / "tokenizer.json").write_text("{}", encoding="utf-8")
    save_sae(sae, {"k": 5, "dead": 0.25}, work / "sae")
    monkeypatch.setattr(steps, "MODELS", shipped)
    steps.ship(work)
    assert (shipped / "dense" / steps.LOG).read_text(encoding="utf-8") == '{"tokens": 1}\n'
    assert (shipped / "dense" / "tokenizer.json").read_text(encoding="utf-8") == "{}"
    rounded, (autoencoder, about) = load_dense(shipped / "dense"), load_sae(shipped / "sae")
    assert about == {"k": 5, "dead": 0.25}
    for kept, trained in ((rounded, dense), (autoencoder, sae)):
        weights = trained.state_dict()
        for name, values in kept.state_dict().items():
            assert values.dtype == torch.float32
            assert torch.equal(values, weights[name].half().float())


def test_a_training_that_has_not_ended_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="run the step `dense` to its end first"):
        load_dense(tmp_path)


def test_the_shipped_models_are_those_of_the_results() -> None:
    results, model = read_baselines(), load_dense(MODELS / "dense")
    autoencoder, about = load_sae(MODELS / "sae")
    assert model.num_parameters() == results["dense"]["parameters"]
    assert model.config.intermediate_size == results["dense"]["width"]
    assert len(autoencoder.decoder) == results["sae"]["width"]
    assert about == {name: results["sae"][name] for name in about}
