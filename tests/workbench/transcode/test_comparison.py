"""Baselines beside experts: each computes what it says, and one table holds them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch
from datasets import Dataset
from torch import nn

from workbench.transcode import Teacher, TranscodeSettings, transcode, transcoder
from workbench.transcode import comparison as module
from workbench.transcode.comparison import compare, over_seeds
from workbench.transcode.imitate import Lesson
from workbench.transcode.transcoder import TopKTranscoder, affine_fit, make_transcoders

METHODS = ["teacher", "zero", "mean", "affine", "topk", "topk_skip", "topk_equal", "topk_equal_skip", "monet"]


@pytest.mark.parametrize("skip", [False, True])
def test_a_transcoder_is_its_formula(skip: bool) -> None:
    torch.manual_seed(0)
    made = TopKTranscoder(torch.tensor(2.0), torch.randn(8), torch.tensor(3.0), features=20, k=4, skip=skip)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.normal_()
    x = torch.randn(2, 5, 8)
    activations = (x / made.scale - made.bias) @ made.encoder.T
    kept = activations.relu() * (activations >= activations.topk(4).values[..., -1:])
    wanted = kept * 8**0.5 @ made.decoder + made.y_bias
    if made.skip is not None:
        wanted = wanted + x / 2.0 @ made.skip.T
    torch.testing.assert_close(made(x), 3.0 * wanted, rtol=1e-4, atol=1e-4)
    assert made.active_parameters == 2 * 8 * 4 + (64 if skip else 0)


def test_transcoders_start_near_the_mean(lesson: Lesson, monkeypatch: pytest.MonkeyPatch) -> None:
    x = next(lesson.sample())
    y = lesson.teacher.outputs(x, lesson.layers)
    for k in (2, 8):
        made = make_transcoders(lesson, k, skip=True)
        out = torch.stack([one(own) for one, own in zip(made, x, strict=True)])
        assert bool((lesson.scales.unexplained(out, y) < 1.6).all())


def test_an_affine_map_is_recovered(lesson: Lesson) -> None:
    torch.manual_seed(0)
    maps = [nn.Linear(32, 32) for _ in lesson.layers]
    for layer, own in zip(lesson.layers, maps, strict=True):
        lesson.teacher.model.model.layers[layer].mlp = own
    lesson.settings = TranscodeSettings(layers=lesson.layers, tokens=16 * 60, sequence=16, batch=4)
    for fit, own in zip(affine_fit(lesson), maps, strict=True):
        torch.testing.assert_close(fit.weight, own.weight, rtol=0, atol=1e-3)
        torch.testing.assert_close(fit.bias, own.bias, rtol=0, atol=1e-3)


def test_the_table(
    teacher: Teacher,
    corpus: Dataset,
    settings: Callable[..., TranscodeSettings],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for where in (module, transcoder):
        monkeypatch.setattr(where, "FEATURES", 64)
    done = transcode(teacher, corpus, tmp_path / "out", settings())
    table = compare(done, tmp_path / "out")
    assert table["method"].tolist() == METHODS
    figures = ["loss", "rise", "recovered", "recovered_from_zero", "unexplained"]
    counts = ["active_parameters", "routing_parameters", "parameters"]
    assert table.columns.tolist() == ["method", *figures, *counts, "seed", "tokens"]
    by = table.set_index("method")
    assert by.loc["teacher", ["rise", "recovered", "unexplained"]].tolist() == [0, 1, 0]
    assert by.loc["mean", ["recovered", "unexplained"]].tolist() == [0, 1]
    assert by.loc["zero", "loss"] == pytest.approx(
        sum(done.figures["zero_ablated"].values()) / 2
    )  # as many held-out tokens of each label
    assert by.loc[["teacher", "zero"], "recovered_from_zero"].tolist() == [1, 0]
    assert by.loc["affine", "unexplained"] < 1
    assert by.loc["monet", "loss"] == done.figures["loss"]
    active = by.loc["monet", "active_parameters"]
    assert by.loc["topk_equal", "active_parameters"] == pytest.approx(active, abs=32)
    assert by.loc["topk_equal_skip", "active_parameters"] == pytest.approx(active, abs=32)
    kept = json.loads((tmp_path / "out" / "comparison.json").read_text(encoding="utf-8"))
    assert [row["method"] for row in kept] == METHODS
    again = compare(done, tmp_path / "out")  # trained already
    pd.testing.assert_frame_equal(again, table)


def test_seeds_are_summed_up_by_method() -> None:
    rows = [
        {"method": m, "loss": 1.0, "rise": 0.5, "recovered": 0.9, "recovered_from_zero": 0.95, "unexplained": 0.25}
        for m in ("b", "a")
    ]
    other = [row | {"loss": 3.0} for row in rows]
    table = over_seeds([pd.DataFrame(rows), pd.DataFrame(other)])
    assert table.index.tolist() == ["b", "a"]
    assert table.loc["a", ["seeds", "loss", "loss_sd", "rise_sd"]].tolist() == pytest.approx([2, 2.0, 2**0.5, 0])
