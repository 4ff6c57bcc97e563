"""Removing the experts that go with a score: which they are, what is measured, and on which documents."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import pearsonr

from monet_model import MonetForCausalLM
from workbench.analysis import purge_edit, purge_scores, read_purge
from workbench.analysis.correlation import continuations, purge
from workbench.analysis.correlation.continuations import Sampling, continuation_scores, draw_tokens, sample_texts
from workbench.analysis.correlation.toxicity import draw_prompts, mean_measures, measures_by_toxicity
from workbench.analysis.removal.losses import document_losses
from workbench.analysis.units import split_documents
from workbench.analysis.windows import read_windows
from workbench.errors import WorkbenchError
from workbench.store import Run, open_run

Cut = Callable[[list[int], int, int], list[tuple[list[int], int]]]


def letters(texts: Sequence[str]) -> np.ndarray:
    """A score: the share of letters."""
    return np.array([sum(c.isalpha() for c in text) / max(len(text), 1) for text in texts])


@pytest.fixture
def texts_run(bare_run_path: Path, tmp_path: Path) -> Run:
    """A run with texts, each with its share of letters as score."""
    run = open_run(shutil.copytree(bare_run_path, tmp_path / "run"))
    scores = letters([run.text(doc) for doc in range(len(run.documents))])
    run.__dict__["documents"] = run.documents.assign(score=scores)
    return run


@pytest.fixture
def texts_model(texts_run: Run) -> MonetForCausalLM:
    return MonetForCausalLM.from_pretrained(texts_run.model_path).eval()


def choosing_rows(run: Run, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Token rows of the documents that choose, the score of each, and which documents measure."""
    label = run.documents["label"].map({label: n for n, label in enumerate(run.labels)}).to_numpy()
    measures = split_documents(label, run.documents["tokens"].to_numpy(), seed, choosing_tokens=1)  # halves
    chosen = run.documents[~measures]
    rows = np.concatenate([np.arange(row, row + n) for row, n in zip(chosen["row"], chosen["tokens"], strict=True)])
    return rows, np.repeat(chosen["score"], chosen["tokens"]).to_numpy(), measures


def test_the_experts_above_a_threshold_are_removed(texts_run: Run, texts_model: MonetForCausalLM, cut: Cut) -> None:
    """Counted by scipy's correlations over the choosing tokens; the loss is the model's own, without them."""
    found = purge_scores(texts_run, texts_model, thresholds=[0.1, 0.05], min_documents=3, seed=2)
    rows, score, measures = choosing_rows(texts_run, 2)
    edits, counts = {}, {0.1: 0, 0.05: 0}
    document = np.searchsorted(texts_run.documents["row"], rows, side="right")
    for group, layer in enumerate(texts_run.group_layers):
        g1, g2 = texts_run.routing(rows, group).dense()
        values = torch.einsum("thi,thj->ijt", g1, g2).flatten(0, 1).numpy().astype(float)
        factors = torch.ones(len(values))
        for expert, x in enumerate(values):
            if np.ptp(x) > 0 and len(np.unique(document[x > 0])) >= 3:
                r = pearsonr(x, score).statistic
                counts = {threshold: count + (r > threshold) for threshold, count in counts.items()}
                factors[expert] = 0 if r > 0.1 else 1
        edits[layer] = factors.view(texts_run.num_keys, -1)
    points = found.points.set_index(["kind", "threshold"])
    kinds = ("correlated", "random", "equally active")
    assert points["removed"].to_dict() == {(kind, t): n for t, n in counts.items() for kind in kinds}
    assert 0 < counts[0.1] < counts[0.05]
    assert points["share"].tolist() == (points["removed"] / (len(edits) * texts_run.num_keys**2)).tolist()

    loss, tokens, context = torch.zeros(2, dtype=torch.float64), 0, texts_run.manifest["settings"]["context"]
    for doc in np.flatnonzero(measures):
        for window, again in cut(texts_run.input_ids(int(doc)).tolist(), 1, context):
            ids = torch.tensor([window])
            wanted, predicted = ids.clone(), len(window) - max(1, again)
            wanted[:, : max(1, again)] = -100  # what is not predicted, for transformers
            tokens += predicted
            with torch.no_grad():
                loss[0] += texts_model(ids, labels=wanted).loss * predicted
                with texts_model.edit_experts(edits):
                    loss[1] += texts_model(ids, labels=wanted).loss * predicted
    assert found.plain["loss"] == pytest.approx(float(loss[0]) / tokens, rel=1e-5)
    assert points.loc[("correlated", 0.1), "loss"] == pytest.approx(float(loss[1]) / tokens, rel=1e-5)
    assert (found.scorer, found.prompts, list(found.plain)) == (None, 0, ["loss"])

    edit = purge_edit(texts_run, texts_model, 0.1, min_documents=3, seed=2)
    assert all(torch.equal(matrix, edits[layer]) for layer, matrix in edit.matrices().items())


def test_continuations_are_scored(texts_run: Run, texts_model: MonetForCausalLM) -> None:
    """The columns of Table 4, for the continuations that were drawn, and again after reading them back."""
    sampling = Sampling(continuations=3, new_tokens=6, seed=1)
    prompts = [[0, 40, 41, 42], [0, 50]]
    found = purge_scores(
        texts_run, texts_model, thresholds=[0.1], min_documents=3, scorer=letters, prompts=prompts, sampling=sampling
    )
    tokenizer = texts_run.tokenizer()
    assert tokenizer is not None
    texts = [
        text
        for number, prompt in enumerate(prompts)
        for text in sample_texts(texts_model, tokenizer, {number: prompt}, {}, sampling)
    ]
    highest = [letters(some).max() for some in texts]
    assert found.plain["expected_max"] == pytest.approx(np.mean(highest))
    assert found.plain["probability"] == np.mean(np.array(highest) >= 0.5)
    assert found.plain["mean"] == pytest.approx(np.mean([letters(some) for some in texts]))
    assert (found.scorer, found.prompts) == ("letters", 2)
    assert set(found.points) == {"threshold", "kind", "removed", "share", *found.plain}
    again = read_purge(texts_run)
    assert again is not None
    assert json.dumps(again.to_json()) == json.dumps(found.to_json())


def test_prompts_open_measuring_texts_half_of_them_toxic(texts_run: Run, texts_model: MonetForCausalLM) -> None:
    seen: list[list[str]] = []

    def every_other(texts: Sequence[str]) -> np.ndarray:
        seen.append(list(texts))
        return np.arange(len(texts)) % 2.0

    settings: dict[str, Any] = {"thresholds": [0.1], "scorer": every_other, "sampling": Sampling(2, 3)}
    found = purge_scores(texts_run, texts_model, **settings, prompts=1000)
    _, _, measures = choosing_rows(texts_run, 0)
    assert found.prompts == measures.sum() == found.measured
    assert found.chosen == (~measures).sum()
    tokenizer = texts_run.tokenizer()
    assert tokenizer is not None
    openings = [texts_run.input_ids(int(doc))[:32] for doc in np.flatnonzero(measures)]
    assert seen[0] == tokenizer.batch_decode([list(ids) for ids in openings], skip_special_tokens=True)
    assert sum(map(len, seen[1:])) == 4 * 2 * found.prompts  # the plain model, and three removals
    plain = found.by_toxicity[found.by_toxicity["kind"] == "none"].set_index("prompts")
    toxic = found.prompts // 2
    assert plain["count"].to_dict() == {"toxic": toxic, "other": found.prompts - toxic}
    few = purge_scores(texts_run, texts_model, **settings, prompts=4).by_toxicity
    assert few["count"].tolist() == [2, 2] * 4


def test_prompts_are_drawn_evenly_and_one_kind_makes_up_for_the_other() -> None:
    toxic = np.arange(10) < 3
    for count, of_toxic in ((4, 2), (5, 2), (9, 3), (20, 3)):
        drawn = draw_prompts(toxic, count, seed=1)
        assert len(set(drawn)) == min(count, 10)
        assert toxic[drawn].sum() == of_toxic
        assert drawn.tolist() == sorted(drawn)
    assert len({tuple(draw_prompts(toxic, 4, seed)) for seed in range(9)}) > 1


def test_measures_of_toxic_and_other_prompts_by_hand() -> None:
    """Two toxic prompts and one other; a change that is the same for all prompts has no width."""
    plain = np.array([0.9, 0.2, 0.7])
    toxic, other = measures_by_toxicity(plain - 0.25, plain, np.array([True, False, True]), seed=0)
    assert (toxic["prompts"], toxic["count"], other["prompts"], other["count"]) == ("toxic", 2, "other", 1)
    assert toxic["expected_max"] == pytest.approx(0.55)  # of 0.65 and 0.45
    assert toxic["probability"] == 0.5
    assert [toxic[f"change{end}"] for end in ("", ":low", ":high")] == pytest.approx([-0.25] * 3)
    assert [toxic[f"expected_max{end}"] for end in (":low", ":high")] == pytest.approx([0.45, 0.65])
    assert other["expected_max"] == pytest.approx(-0.05)
    assert np.isnan(other["expected_max:low"])
    only = measures_by_toxicity(plain, plain, np.array([True] * 3), seed=0)
    assert [row["prompts"] for row in only] == ["toxic"]


def test_intervals_are_about_two_standard_errors_wide() -> None:
    rng = np.random.default_rng(3)
    highest = rng.random(400)
    (row,) = measures_by_toxicity(highest, highest, np.ones(400, bool), seed=0)
    error = highest.std() / 20
    assert row["expected_max:high"] - row["expected_max:low"] == pytest.approx(2 * 1.96 * error, rel=0.1)


def test_texts_without_a_score_are_only_measured(texts_run: Run, texts_model: MonetForCausalLM) -> None:
    settings: dict[str, Any] = {"thresholds": [0.1], "min_documents": 3}
    documents = texts_run.documents
    unscored = documents["label"] == texts_run.labels[0]
    texts_run.__dict__["documents"] = documents.assign(score=documents["score"].mask(unscored))
    found = purge_scores(texts_run, texts_model, **settings)
    assert found.chosen + found.measured == (~unscored).sum()
    windows = read_windows(texts_run, documents[unscored])
    plain = document_losses(texts_model, windows, {})
    assert found.other_text["label"].unique().tolist() == [texts_run.labels[0]]
    assert found.other_text["loss"].iloc[0] == pytest.approx(plain.loss.sum() / plain.tokens.sum())
    assert found.other_text["kind"].tolist() == ["none", "correlated", "random", "equally active"]
    again = read_purge(texts_run)
    assert again is not None
    assert again.to_json()["other_text"][1:] == found.to_json()["other_text"][1:]


def test_draws_are_the_seed_s_and_of_no_batch(texts_run: Run, texts_model: MonetForCausalLM) -> None:
    tokenizer = texts_run.tokenizer()
    assert tokenizer is not None
    prompts = {3: [0, 40], 5: [0, 40]}
    first, same, other = (sample_texts(texts_model, tokenizer, prompts, {}, Sampling(4, 8, seed)) for seed in (0, 0, 1))
    assert first == same
    assert first != other
    assert first[0] != first[1]
    assert sample_texts(texts_model, tokenizer, {5: [0, 40]}, {}, Sampling(4, 8)) == first[1:]


def test_continuations_are_those_of_the_whole_text_without_a_cache(
    texts_run: Run, texts_model: MonetForCausalLM
) -> None:
    """Token by token, each time reading everything written so far; the same uniform numbers."""
    tokenizer = texts_run.tokenizer()
    assert tokenizer is not None
    (texts,) = sample_texts(texts_model, tokenizer, {7: [0, 40, 41]}, {}, Sampling(3, 5, seed=2))
    uniform = torch.from_numpy(np.random.default_rng([2, 7]).random((3, 5)).astype(np.float32))
    ids = torch.tensor([[0, 40, 41]] * 3)
    for place in range(5):
        with torch.no_grad():
            drawn = draw_tokens(texts_model(ids, use_cache=False).logits[:, -1], uniform[:, place])
        ids = torch.cat([ids, drawn[:, None]], 1)
    assert texts == tokenizer.batch_decode(ids[:, 3:], skip_special_tokens=True)


def test_a_text_ends_where_the_model_ends_it(texts_run: Run, texts_model: MonetForCausalLM) -> None:
    tokenizer = texts_run.tokenizer()
    assert tokenizer is not None
    settings = texts_model, tokenizer, {0: [0, 40, 41]}, {}, Sampling(30, 6)
    (whole,) = sample_texts(*settings)
    config = texts_model.generation_config
    assert config is not None
    config.eos_token_id = list(range(0, texts_model.config.vocab_size, 2))  # half of what is drawn
    (cut,) = sample_texts(*settings)
    assert "" in cut
    assert all(len(shorter) <= len(text) for text, shorter in zip(whole, cut, strict=True))
    assert sum(map(len, cut)) < sum(map(len, whole))


def test_tokens_are_drawn_from_the_nucleus_in_proportion(monkeypatch: pytest.MonkeyPatch) -> None:
    """Against a sorted vocabulary; rows whose nucleus is wider than what is sorted first are drawn alike."""
    torch.manual_seed(0)
    logits = torch.randn(40, 300) * torch.linspace(0.1, 6, 40)[:, None]
    uniform = torch.rand(40)
    probabilities, order = logits.softmax(-1).sort(-1, descending=True)
    expected = []
    for row in range(40):
        kept = probabilities[row, : int((probabilities[row].cumsum(0) < 0.9).sum()) + 1].double()
        at = int((kept.cumsum(0) <= uniform[row].double() * kept.sum()).sum())
        expected.append(int(order[row, at]))
    assert draw_tokens(logits, uniform).tolist() == expected
    monkeypatch.setattr(continuations, "NUCLEUS", 4)
    assert draw_tokens(logits, uniform).tolist() == expected


def test_scores_of_continuations_by_hand() -> None:
    scores = continuation_scores([["a", "b"], ["c", "d"]], lambda texts: np.array([0.1, 0.7, 0.2, 0.4]))
    assert scores["highest"].tolist() == [0.7, 0.4]
    assert mean_measures(**scores) == pytest.approx({"expected_max": 0.55, "probability": 0.5, "mean": 0.35})


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"thresholds": []}, "thresholds"),
        ({"thresholds": [1.0]}, "thresholds"),
        ({"prompts": 0}, "at least one"),
        ({"unit": "word"}, "one of mean, max, token"),
        ({"column": "score", "scorer": letters}, "has no tokenizer"),
    ],
)
def test_a_purge_that_makes_no_sense_is_refused(
    run: Run, model: MonetForCausalLM, settings: dict[str, Any], said: str
) -> None:
    with pytest.raises(WorkbenchError, match=said):
        purge_scores(run, model, **settings)
    assert read_purge(run) is None


def test_a_broken_purge_goes_on_to_the_same_bytes(
    texts_run: Run, texts_model: MonetForCausalLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings: dict[str, Any] = {"thresholds": [0.1, 0.05], "min_documents": 3, "scorer": letters}
    settings["sampling"] = Sampling(continuations=2, new_tokens=3)
    measure, passes, at = purge.document_losses, [], 3

    def measured(*args: Any) -> Any:
        passes.append(len(passes) + 1)
        if len(passes) == at:
            raise KeyboardInterrupt
        return measure(*args)

    monkeypatch.setattr(purge, "document_losses", measured)
    with pytest.raises(KeyboardInterrupt):
        purge_scores(texts_run, texts_model, **settings)
    with pytest.raises(WorkbenchError, match="differs in .*thresholds"):
        purge_scores(texts_run, texts_model, **settings | {"thresholds": [0.1, 0.05, 0.02]}, resume=True)
    purge_scores(texts_run, texts_model, **settings, resume=True)
    assert len(passes) == at + 5  # of seven, two were done
    file = texts_run.path / "analysis" / "purge.json"
    resumed = file.read_bytes()
    purge_scores(texts_run, texts_model, **settings)
    assert file.read_bytes() == resumed
    assert not (texts_run.path / "analysis" / "purge.state").exists()


def test_a_purge_broken_while_it_writes_goes_on_at_the_batch(
    texts_run: Run, texts_model: MonetForCausalLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts = [[0, 40], [0, 41, 42], [0, 43, 44, 45]]  # three lengths are three batches
    settings: dict[str, Any] = {"thresholds": [0.1], "min_documents": 3, "scorer": letters, "prompts": prompts}
    settings["sampling"] = Sampling(continuations=2, new_tokens=3)
    sample, batches, at = purge.sample_texts, [], 6

    def sampled(*args: Any) -> Any:
        batches.append(len(batches) + 1)
        if len(batches) == at:
            raise KeyboardInterrupt
        return sample(*args)

    monkeypatch.setattr(purge, "sample_texts", sampled)
    with pytest.raises(KeyboardInterrupt):
        purge_scores(texts_run, texts_model, **settings)
    purge_scores(texts_run, texts_model, **settings, resume=True)
    assert len(batches) == 1 + 4 * 3  # each once, and the broken one again
    file = texts_run.path / "analysis" / "purge.json"
    resumed = file.read_bytes()
    purge_scores(texts_run, texts_model, **settings)
    assert file.read_bytes() == resumed
