"""Nulls and verdicts: p-values against reorderings written out, uniform where nothing is there, small where it is."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import entropy, false_discovery_control, kstest

from cuda_ext.routing import Routing
from monet_model import MonetForCausalLM
from workbench.analysis import activations, analyze_run, read_analysis
from workbench.analysis.activations import CrossTable, active_pairs, read_activations
from workbench.analysis.significance import benjamini_hochberg, pooled_p
from workbench.analysis.specialisation import label_null
from workbench.analysis.specialisation.label_null import SCORES, LabelNull, label_scores
from workbench.analysis.specialisation.scores import coherence
from workbench.analysis.specialisation.scores.coherence import (
    Embeddings,
    encoder_embeddings,
    residual_embeddings,
    weighted_coherence,
)
from workbench.analysis.specialisation.scores.vocabulary_entropy import vocabulary_entropy
from workbench.errors import WorkbenchError
from workbench.store import Run


def table_of(mass: np.ndarray, tokens: np.ndarray) -> CrossTable:
    """The sparse table of dense (experts, documents) arrays."""
    cells = np.nonzero(tokens)
    return CrossTable(*cells, mass[cells].astype(np.float32), tokens[cells].astype(np.int64))


def random_documents(seed: int, experts: int, documents: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Label and size of documents, mass and active tokens of experts in them, all without any relation."""
    rng = np.random.default_rng(seed)
    tokens = rng.poisson(1.5, (experts, documents)) * (rng.random((experts, documents)) < 0.7)
    return (
        rng.permutation(np.arange(documents) % 3),
        rng.integers(20, 90, documents),
        tokens * rng.random(tokens.shape),
        tokens,
    )


# activations


@pytest.mark.parametrize(("group", "max_pairs"), [(0, 2**24), (1, 500)])
def test_activations_equal_dense_scores(run: Run, monkeypatch: pytest.MonkeyPatch, group: int, max_pairs: int) -> None:
    """In one piece or in several, that cover every expert once; then their sums by a number of the tokens."""
    monkeypatch.setattr(activations, "MAX_PAIRS", max_pairs)
    monkeypatch.setattr(activations, "ROUTING_ROWS", 300)
    g1, g2 = run.routing(slice(None), group).dense()
    score = torch.einsum("thi,thj->tij", g1, g2).flatten(1).T.numpy()  # (experts, tokens)
    document = np.arange(run.tokens_total) // 37
    token = run.tokens()["token"].to_numpy()
    counted: list[int] = []
    pieces = list(read_activations(run, group, counted.append))
    assert (len(pieces) > 1) == (max_pairs == 500)
    assert [e for piece in pieces for e in piece.experts] == list(range(run.num_keys**2))
    assert sum(counted) == sum(len(piece.row) for piece in pieces) == (score > 0).sum()
    for piece in pieces:
        assert (np.lexsort([piece.row, piece.expert]) == np.arange(len(piece.row))).all()
        assert piece.score == pytest.approx(score[piece.expert, piece.row], rel=1e-5)
        covered = slice(piece.experts.start, piece.experts.stop)
        table, (expert, number, count) = piece.by(document), piece.counts(token)
        for numbers, found in (
            (document, (table.expert, table.number, table.tokens)),
            (token, (expert, number, count)),
        ):
            one_hot = numbers[:, None] == np.arange(numbers.max() + 1)
            dense = np.zeros((run.num_keys**2, one_hot.shape[1]), int)
            dense[found[:2]] = found[2]
            assert (dense[covered] == (score > 0)[covered] @ one_hot.astype(int)).all()
        masses = score @ (document[:, None] == np.arange(document.max() + 1))
        assert table.mass == pytest.approx(masses[table.expert, table.number], rel=1e-4)


def test_active_pairs_are_the_routing_s(run: Run) -> None:
    routing = run.routing(slice(0, 200), 0)
    token, expert, score = (values.numpy() for values in routing.pairs())
    order = np.lexsort([token, expert])
    ((found_expert, found_token, found_score),) = active_pairs(routing)
    assert (found_expert == expert[order]).all()
    assert (found_token == token[order]).all()
    assert found_score == pytest.approx(score[order], rel=1e-6)


def test_the_ids_of_many_keys_leave_room_for_few_tokens() -> None:
    """4,000 keys: 24 bits for an expert, 32 for a score, so 128 tokens are packed at once."""
    generator = torch.Generator().manual_seed(0)
    indices = torch.randint(0, 4000, (2, 300, 2, 3), generator=generator).sort(-1).values.to(torch.int16)
    probs, counts = torch.rand(2, 300, 2, 3, generator=generator), torch.full((300, 2), 3, dtype=torch.int32)
    routing = Routing(indices[0], probs[0], counts, indices[1], probs[1], counts, num_keys=4000)
    pieces = list(active_pairs(routing))
    assert [(piece[1].min(), piece[1].max()) for piece in pieces] == [(0, 127), (128, 255), (256, 299)]
    token, expert, score = (values.numpy() for values in routing.pairs())
    order = np.lexsort([token, expert, token // 128])
    assert (np.concatenate([piece[0] for piece in pieces]) == expert[order]).all()
    assert np.concatenate([piece[2] for piece in pieces]) == pytest.approx(score[order], rel=1e-6)


@given(seed=st.integers(0, 999), low=st.integers(0, 5), width=st.integers(1, 6))
def test_routing_within_a_range_of_keys(seed: int, low: int, width: int) -> None:
    g = torch.rand(2, 4, 2, 6, generator=torch.Generator().manual_seed(seed))
    g = g * (g > 0.5)
    high = min(low + width, 6)
    found = Routing.from_dense(*g).first_keys(low, high)
    kept = torch.zeros(6)
    kept[low:high] = 1
    assert torch.equal(found.dense()[0], g[0] * kept)
    assert torch.equal(found.dense()[1], g[1])
    assert torch.equal(found.counts1, (g[0] * kept > 0).sum(-1, dtype=torch.int32))


# labels shuffled by document


@pytest.mark.parametrize("first_look", [1000, 4])
def test_p_values_equal_reorderings_written_out(monkeypatch: pytest.MonkeyPatch, first_look: int) -> None:
    """One expert, one reordering at a time; those let go early count the reorderings they had."""
    monkeypatch.setattr(label_null, "FIRST_LOOK", first_look)
    monkeypatch.setattr(label_null, "LET_GO", 3)
    monkeypatch.setattr(label_null, "CHUNK", 5)
    monkeypatch.setattr(label_null, "BLOCK", 7)
    label, sizes, mass, tokens = random_documents(3, 20, 11)
    mass[4, label == 1] += 9.0
    tokens[4, label == 1] += 1
    null = LabelNull(label, sizes, 3, 30, seed=2)
    tested = np.delete(np.arange(20), [0, 9])
    found = null.p_values(table_of(mass, tokens), tested)
    orders = null.one_hot.argmax(1)
    assert (orders[0] == label).all()
    assert (np.sort(orders) == np.sort(label)).all()
    early = 0
    for place, expert in enumerate(tested):
        scores = []
        for order in orders:
            of_label = order == np.arange(3)[:, None]
            by_label = (of_label * mass[expert].astype(np.float32)).sum(1), (of_label * tokens[expert]).sum(1)
            one = label_scores(*(np.float64(v)[:, None] for v in by_label), (of_label * sizes).sum(1))
            scores.append([float(one[name][0]) for name in SCORES])
        far = np.array(scores[1:]) >= np.array(scores[0]) * (1 - 1e-5)
        done = 5 if first_look == 4 and far[:5].sum(0).min() >= 3 else 30
        early += done == 5
        assert [found[n][place] for n in SCORES] == pytest.approx(((1 + far[:done].sum(0)) / (1 + done)).tolist())
    assert (early > 0) == (first_look == 4)
    assert all(found[name][3] < 0.2 for name in ("score", "selectivity"))


def test_p_values_are_uniform_where_labels_mean_nothing() -> None:
    """No more experts are below a level than the level says; with 400 experts that differ, about as many."""
    label, sizes, mass, tokens = random_documents(11, 400, 30)
    found = LabelNull(label, sizes, 3, 99, seed=5).p_values(table_of(mass, tokens), np.arange(400))
    for name in SCORES:
        assert kstest(found[name], "uniform", alternative="greater").pvalue > 0.001
        assert 0.02 < (found[name] <= 0.1).mean() < 0.2


def test_experts_of_one_document_never_win() -> None:
    """They have one label only, as under any reordering, however often they fire."""
    label, sizes, mass, tokens = random_documents(0, 5, 12)
    mass[:, :], tokens[:, :] = 0, 0
    mass[np.arange(5), np.arange(5)] = tokens[np.arange(5), np.arange(5)] = 500
    found = LabelNull(label, np.full(12, 600), 3, 99, seed=1).p_values(table_of(mass, tokens), np.arange(5))
    for name in SCORES:
        assert (found[name] == 1).all()


def test_a_true_preference_is_found_and_controlled_for() -> None:
    """Twenty experts of two hundred prefer a label; nearly all are found, and few others."""
    label, sizes, mass, tokens = random_documents(2, 200, 30)
    tokens[:20, label == 2] += 12
    mass[:20, label == 2] += 6.0
    found = LabelNull(label, sizes, 3, 400, seed=3).p_values(table_of(mass, tokens), np.arange(200))
    for name in ("score", "selectivity", "information"):
        verdict = benjamini_hochberg(found[name]) <= 0.05
        assert verdict[:20].sum() >= 18
        assert verdict[20:].sum() <= 4


@given(arrays(np.float64, st.integers(1, 30), elements=st.floats(0, 1)), st.integers(0, 5))
def test_false_discovery_rates_are_scipy_s(p: np.ndarray, untested: int) -> None:
    """Hypotheses that were not tested do not count."""
    q = benjamini_hochberg(np.concatenate([np.full(untested, np.nan), p]))
    assert np.isnan(q[:untested]).all()
    assert q[untested:] == pytest.approx(false_discovery_control(p))


def test_pooled_p_values_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two strata; each score is held against the null scores of its own."""
    monkeypatch.setattr("workbench.analysis.significance.STRATUM", 4)
    sizes = np.array([1.0, 1, 1, 1, 9, 9, 9, 9])
    null = np.array([0.1, 0.2, 0.3, 0.4, 10, 20, 30, 40])
    p = pooled_p(np.array([0.3, 0.5, 5.0, 25.0, np.nan]), np.array([1.0, 1, 9, 9, 9]), null, sizes)
    assert p[:4].tolist() == [3 / 5, 1 / 5, 5 / 5, 3 / 5]
    assert np.isnan(p[4])


# vocabulary and coherence


def test_vocabulary_entropy_is_scipy_s() -> None:
    counts = np.random.default_rng(4).poisson(1.0, (12, 9))
    counts[0] = [0, 0, 7, 0, 0, 0, 0, 0, 0]
    counts[5] = 0
    found = vocabulary_entropy(*np.nonzero(counts), counts[np.nonzero(counts)])
    assert list(found.index) == [e for e in range(12) if e != 5]
    assert found.to_numpy() == pytest.approx([entropy(row) for row in counts if row.any()])
    assert found[0] == 0


@pytest.mark.parametrize("block", [65_536, 3])
def test_coherence_equals_the_sum_over_pairs(monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    monkeypatch.setattr(coherence, "BLOCK", block)
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
def test_residual_embeddings_are_the_last_layer_s(run: Run, model: MonetForCausalLM) -> None:
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


def test_a_missing_encoder_leaves_nothing_behind(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workbench.analysis.encoder.PACKAGE", "no_such_package")
    with pytest.raises(WorkbenchError, match="the sentence encoder is not installed"):
        analyze_run(run, encoder=True)
    assert not (run.path / "analysis").exists()


def test_an_encoder_needs_text(run: Run) -> None:
    with pytest.raises(WorkbenchError, match="holds token ids without text"):
        analyze_run(run, encoder=True)


# joined in an analysis


def test_an_analysis_holds_every_score_with_its_verdict(run: Run, model: MonetForCausalLM) -> None:
    summary = analyze_run(run, permutations=60, model=model, fdr=0.2)
    for group in run.groups:
        found, experts = read_analysis(run, group), run.experts(group)
        tested = experts["tokens"] >= 10
        for name in (*SCORES, "vocabulary_entropy", "coherence:residual"):
            p, q = found[f"p:{name}"], found[f"q:{name}"]
            assert (p.notna() == (tested & found[name].notna())).all()
            assert ((p > 0) & (p <= 1))[tested].all()
            assert q.to_numpy() == pytest.approx(benjamini_hochberg(p.to_numpy()), nan_ok=True)
            if name in SCORES:
                assert p[tested].min() >= 1 / 61
        expected = (found["specialised"] != "") & (found["q:ratio"] <= 0.2)
        assert (found["confirmed"] == expected).all()
        assert summary.confirmed is not None
        counts = found.loc[found["confirmed"], "specialised"].value_counts()
        assert summary.confirmed.loc[group].to_dict() == counts.reindex(run.labels, fill_value=0).to_dict()
    assert summary.to_json()["permutations"] == 60


def test_vocabularies_are_purer_than_by_chance(run: Run) -> None:
    """Routing depends on tokens, so the experts of any model fire at fewer of them than slid text would have."""
    analyze_run(run, permutations=1)
    assert (read_analysis(run, 0)["p:vocabulary_entropy"] < 0.1).mean() > 0.4


def test_the_same_seed_gives_the_same_analysis(run: Run) -> None:
    tables = []
    for seed in (1, 1, 2):
        analyze_run(run, permutations=20, seed=seed)
        tables.append(read_analysis(run, 0))
    pd.testing.assert_frame_equal(tables[0], tables[1])
    assert (tables[0]["p:ratio"] != tables[2]["p:ratio"]).any()


@pytest.mark.parametrize(("settings", "message"), [({"permutations": -1}, "permutations"), ({"fdr": 1.0}, "fdr")])
def test_settings_that_make_no_sense_are_refused(run: Run, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(WorkbenchError, match=message):
        analyze_run(run, **settings)
