"""Divergence of two models' next-token distributions, against a plain sum over the vocabulary, one window at a time."""

from __future__ import annotations

import copy
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from monet_model import MonetForCausalLM
from workbench import Run, open_run
from workbench.analysis import compare_runs, read_divergence, token_divergence
from workbench.analysis.divergence import divergence
from workbench.analysis.divergence.divergence import label_divergence, sample_documents
from workbench.checkpoint import load_model
from workbench.errors import BadInputError, DamagedError, NotFoundError, UnsupportedError


@pytest.fixture(scope="module")
def run(bare_run_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    path = tmp_path_factory.mktemp("runs") / "first"
    shutil.copytree(bare_run_path, path)
    return open_run(path)


@pytest.fixture(scope="module")
def model(run: Run) -> MonetForCausalLM:
    return load_model(run.model_path)


@pytest.fixture(scope="module")
def tuned(model: MonetForCausalLM) -> MonetForCausalLM:
    """The same model with another unembedding."""
    changed = copy.deepcopy(model)
    torch.manual_seed(1)
    with torch.no_grad():
        weight = changed.lm_head.weight
        weight.add_(0.5 * torch.randn_like(weight) * weight.std())
    return changed


@torch.no_grad()
def _expected(run: Run, model: MonetForCausalLM, other: MonetForCausalLM, docs: list[int]) -> dict[int, float]:
    found = {}
    for doc in docs:
        for ids, rows in run.windows_of(doc):
            p, q = (one(torch.from_numpy(ids)[None]).logits[0].double().softmax(-1).numpy() for one in (model, other))
            for at in range(1, len(ids)):
                if rows[at] >= 0:
                    found[int(rows[at])] = float(
                        sum(a * np.log(a / b) for a, b in zip(p[at - 1], q[at - 1], strict=True))
                    )
    return found


@pytest.mark.parametrize("positions", [3, divergence.POSITIONS])
def test_every_predicted_token_has_the_divergence_of_its_distributions(
    run: Run, model: MonetForCausalLM, tuned: MonetForCausalLM, positions: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(divergence, "POSITIONS", positions)
    docs = [7, 0, 4]
    table = token_divergence(run, model, tuned, docs)
    expected = _expected(run, model, tuned, sorted(docs))
    assert table["row"].tolist() == sorted(expected)
    assert np.allclose(table["kl"], [expected[row] for row in table["row"]], rtol=1e-4, atol=1e-9)
    assert table["kl"].max() > 0.01
    tokens = run.tokens(table["row"].to_numpy())
    assert table["doc"].tolist() == tokens["doc"].tolist()
    assert table["token"].tolist() == tokens["token"].tolist()
    labels = run.documents["label"].astype(str)
    assert table["label"].tolist() == [labels[doc] for doc in table["doc"]]


def test_it_has_a_direction_and_is_nothing_for_the_same_model(
    run: Run, model: MonetForCausalLM, tuned: MonetForCausalLM
) -> None:
    there, back = token_divergence(run, model, tuned, [0]), token_divergence(run, tuned, model, [0])
    assert not np.allclose(there["kl"], back["kl"])
    assert token_divergence(run, model, model, [0])["kl"].eq(0).all()


def test_bad_models_and_documents_are_refused(run: Run, model: MonetForCausalLM) -> None:
    with pytest.raises(NotFoundError):
        token_divergence(run, model, model, [10_000])
    with pytest.raises(BadInputError, match="training mode"):
        token_divergence(run, model, copy.deepcopy(model).train(), [0])
    short = copy.deepcopy(model)
    short.config.max_position_embeddings = 2
    with pytest.raises(BadInputError, match="reads 2 tokens"):
        token_divergence(run, model, short, [0])
    other = copy.deepcopy(model)
    other.config.vocab_size += 1
    with pytest.raises(BadInputError, match="vocabulary"):
        token_divergence(run, model, other, [0])


def test_a_sample_is_spread_over_the_labels_and_repeatable(run: Run) -> None:
    documents = run.documents.query("original == doc")
    chosen = sample_documents(run, 3)
    assert documents.set_index("doc").loc[chosen, "label"].nunique() == 3
    assert chosen.tolist() == sorted(chosen)
    assert sample_documents(run, 10_000).tolist() == documents["doc"].tolist()
    assert sample_documents(run, 5).tolist() == sample_documents(run, 5).tolist()
    assert any(sample_documents(run, 5, seed).tolist() != sample_documents(run, 5).tolist() for seed in (1, 2, 3))
    with pytest.raises(BadInputError):
        sample_documents(run, 0)


def test_label_means_and_their_intervals() -> None:
    rng = np.random.default_rng(0)
    doc = np.repeat(np.arange(60), 10)
    label = np.where(doc < 40, "lua", "html")
    tokens = pd.DataFrame({"doc": doc, "row": np.arange(600), "label": label, "kl": rng.exponential(1, 600)})
    table = label_divergence(tokens, pd.Series(np.arange(60))).set_index("label")
    assert table.index.tolist() == ["html", "lua", ""]
    for name, of in (("lua", tokens[label == "lua"]), ("html", tokens[label == "html"]), ("", tokens)):
        row = table.loc[name]
        assert (row["documents"], row["tokens"]) == (of["doc"].nunique(), len(of))
        assert row["kl"] == pytest.approx(of["kl"].mean())
        error = of.groupby("doc")["kl"].mean().std() / np.sqrt(of["doc"].nunique())
        assert (row["high"] - row["low"]) == pytest.approx(2 * 1.96 * error, rel=0.15)
        assert row["low"] < row["kl"] < row["high"]


def test_near_copies_are_drawn_as_one_document() -> None:
    tokens = pd.DataFrame({"doc": range(40), "row": range(40), "label": "lua", "kl": [0.0, 1.0] * 20})
    apart = label_divergence(tokens, pd.Series(range(40))).iloc[0]
    copies = label_divergence(tokens, pd.Series([at // 10 * 10 + at % 2 for at in range(40)])).iloc[0]
    assert copies["high"] - copies["low"] > 1.5 * (apart["high"] - apart["low"])


def test_a_comparison_is_kept_for_each_other_run(
    run: Run, model: MonetForCausalLM, tuned: MonetForCausalLM, tmp_path: Path
) -> None:
    from workbench.export import export_run

    folder = tmp_path / "tuned"
    shutil.copytree(run.model_path, folder)
    tuned.save_pretrained(folder)
    export_run(folder, Path(run.model_path).parent / "corpus.parquet", tmp_path / "second")
    other = open_run(tmp_path / "second")
    assert read_divergence(run, other) is None
    result = compare_runs(run, other, model, load_model(folder), documents=6)
    assert read_divergence(run, run) is None
    kept = read_divergence(run, other)
    assert kept is not None
    assert kept.to_json() == result.to_json() == {"other": "second", "documents": 6, "seed": 0, "level": 0.95}
    pd.testing.assert_frame_equal(kept.tokens, result.tokens)
    pd.testing.assert_frame_equal(kept.labels, result.labels)
    top = kept.largest(5)["kl"]
    assert top.tolist() == sorted(kept.tokens["kl"], reverse=True)[:5]
    with pytest.raises(UnsupportedError):
        compare_runs(run, other, model, model, documents=6)  # the other run's model is another
    (file,) = Path(run.path).glob("analysis/against-*/divergence.json")
    file.write_text("{")
    with pytest.raises(DamagedError, match="monet compare .* OTHER"):
        read_divergence(run, other)
