"""Coherence of contexts, against the sum over pairs, and the embeddings it is computed from."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from monet_model import MonetForCausalLM
from workbench.analysis.specialisation.scores import Embeddings, coherence
from workbench.analysis.specialisation.scores.coherence import (
    encoder_embeddings,
    residual_embeddings,
    weighted_coherence,
)
from workbench.store import Run


@pytest.mark.parametrize("block", [65_536, 3])
def test_weighted_coherence_equals_the_sum_over_pairs(monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    monkeypatch.setattr(coherence, "EXAMPLES_AT_ONCE", block)
    rng = np.random.default_rng(6)
    vectors = rng.normal(size=(10, 5)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    embeddings = Embeddings(vectors, rng.integers(0, 10, 40))
    expert, row, weight = np.repeat([3, 5, 8, 9], [4, 1, 6, 2]), rng.integers(0, 40, 13), rng.random(13)
    found = weighted_coherence(expert, weight, row, embeddings)
    for score, one in zip(found, [3, 5, 8, 9], strict=True):
        a, e = weight[expert == one], vectors[embeddings.context[row[expert == one]]]
        pairs = [(n, m) for n in range(len(a)) for m in range(len(a)) if n != m]
        if not pairs:
            assert np.isnan(score)
            continue
        total = sum(a[n] * a[m] for n, m in pairs)
        assert score == pytest.approx(sum(a[n] * a[m] * float(e[n] @ e[m]) for n, m in pairs) / total, abs=1e-6)


@torch.no_grad()
def test_residual_embeddings_are_the_last_layer_s_stream(run: Run, model: MonetForCausalLM) -> None:
    found = residual_embeddings(run, model)
    document = run.documents.iloc[2]
    ids = [document["bos"], *run.tokens(slice(document["row"], document["row"] + document["tokens"]))["token"]][:64]
    streams: list[torch.Tensor] = []
    hook = model.model.layers[-1].register_forward_hook(lambda _, args, out: streams.append(out[0][0, 1:]))
    model(torch.tensor([ids]))
    hook.remove()
    unit = streams[0] / streams[0].norm(dim=-1, keepdim=True)
    at = found.context[document["row"] : document["row"] + len(ids) - 1]
    assert np.abs(found.vectors[at] - unit.numpy()).max() < 1e-5
    assert np.linalg.norm(found.vectors, axis=1) == pytest.approx(1.0, abs=1e-5)


def test_encoder_embeddings_are_of_each_token_s_context() -> None:
    """An encoder that counts letters shows which text each token's context is."""
    text = "".join(chr(ord("a") + n % 20) for n in range(45))
    places = pd.DataFrame({"start": np.arange(40), "end": np.arange(1, 41)})
    run: Any = SimpleNamespace(
        path="RUN",
        tokens_total=40,
        documents=pd.DataFrame({"doc": [0, 1], "row": [0, 30], "tokens": [30, 10]}),
        text=lambda doc: text[:30] if doc == 0 else text[30:40],
        tokens=lambda rows: (places.iloc[rows] - places["start"].iloc[rows].iloc[0]).reset_index(drop=True),
    )

    def encode(texts: list[str], report: Any) -> np.ndarray:
        return np.array([[text.count(chr(ord("a") + n)) for n in range(20)] for text in texts], np.float32)

    encoder: Any = SimpleNamespace(encode=encode)
    found = encoder_embeddings(run, encoder)
    assert found.context.tolist() == [0] * 16 + [1] * 14 + [2] * 10
    assert (found.vectors == encode([text[:24], text[8:30], text[30:40]], None)).all()
