"""Experts, neurons and features are measured alike."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import LlamaForCausalLM

from monet_model import MonetForCausalLM
from workbench.baselines import read_baselines
from workbench.baselines.measure import measure_experts, measure_units, sae_quality
from workbench.baselines.probed import probe_experts
from workbench.baselines.results import KINDS
from workbench.baselines.sae import TopKSae
from workbench.baselines.units import Features, Neurons
from workbench.errors import UnsupportedError
from workbench.store import Run

from ...stand_in.gpu import Gpu, moved

GOLDEN = Path(__file__).parents[2] / "golden" / "tiny-vd"


def test_all_three_are_measured_alike(run: Run, dense: LlamaForCausalLM, sae: TopKSae) -> None:
    model = MonetForCausalLM.from_pretrained(GOLDEN).eval()
    found = [
        measure_experts(run, model),
        measure_units(run, "neurons", Neurons(dense)),
        measure_units(run, "features", Features(dense, sae)),
    ]
    assert [result["units"] for result in found] == [2 * 256, 4 * 24, 40]
    shipped = read_baselines()["models"]
    for result, name in zip(found, KINDS, strict=True):
        assert result.keys() == shipped[name].keys()
        assert json.loads(json.dumps(result, allow_nan=False)) == result
        assert {point["kind"] for point in result["curve"]["points"]} == {"chosen", "random", "equal"}
        matrix = np.array(result["rule"]["matrix"])
        assert result["rule"]["target"] == pytest.approx(np.trace(matrix) / 3)
        assert result["rule"]["others"] == pytest.approx((matrix.sum() - np.trace(matrix)) / 6)


def test_a_model_that_is_not_beside_the_dense_one_is_refused(gpu: Gpu, run: Run) -> None:
    there = moved(MonetForCausalLM.from_pretrained(GOLDEN).eval())
    with gpu.on(), pytest.raises(UnsupportedError, match="on cuda:0; load it with device='cpu'"):
        measure_experts(run, there)
    with gpu.on(), pytest.raises(UnsupportedError, match="on cuda:0; load it with device='cpu'"):
        probe_experts(run, there)


def test_how_well_an_autoencoder_stands_for_the_stream(run: Run, dense: LlamaForCausalLM, sae: TopKSae) -> None:
    found = sae_quality(run, dense, sae)
    assert found["explained"] < 1
    assert found["loss_spliced"] != found["loss"]
    perfect = TopKSae(16, 32, 32)  # every direction and its opposite, none left out
    with torch.no_grad():
        perfect.decoder.copy_(torch.cat([torch.eye(16), -torch.eye(16)]))
        perfect.encoder.copy_(perfect.decoder)
    exact = sae_quality(run, dense, perfect)
    assert exact["explained"] == pytest.approx(1, abs=1e-5)
    assert exact["loss_spliced"] == pytest.approx(exact["loss"], abs=1e-4)
