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
from workbench.analysis.correlation import purge
from workbench.analysis.correlation.continuations import Sampling, continuation_scores, sample_texts
from workbench.analysis.units import split_documents
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
    measures = split_documents(label, run.documents["tokens"].to_numpy(), seed)
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
    assert points["removed"].to_dict() == {(k, t): n for t, n in counts.items() for k in ("correlated", "random")}
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
    texts = sample_texts(texts_model, tokenizer, prompts, {}, sampling)
    highest = [letters(some).max() for some in texts]
    assert found.plain["expected_max"] == pytest.approx(np.mean(highest))
    assert found.plain["probability"] == np.mean(np.array(highest) >= 0.5)
    assert found.plain["mean"] == pytest.approx(np.mean([letters(some) for some in texts]))
    assert (found.scorer, found.prompts) == ("letters", 2)
    assert set(found.points) == {"threshold", "kind", "removed", "share", *found.plain}
    again = read_purge(texts_run)
    assert again is not None
    assert again.to_json() == json.loads(json.dumps(found.to_json()))


def test_prompts_open_the_measuring_texts_of_highest_score(texts_run: Run, texts_model: MonetForCausalLM) -> None:
    seen: list[list[str]] = []

    def remember(texts: Sequence[str]) -> np.ndarray:
        seen.append(list(texts))
        return np.zeros(len(texts))

    found = purge_scores(texts_run, texts_model, thresholds=[0.1], scorer=remember, sampling=Sampling(2, 3))
    _, _, measures = choosing_rows(texts_run, 0)
    assert found.prompts == measures.sum() == found.measured
    assert found.chosen == (~measures).sum()
    assert len(seen) == 3 * found.prompts
    assert all(len(texts) == 2 for texts in seen)


def test_draws_are_the_seed_s_and_leave_others_alone(texts_run: Run, texts_model: MonetForCausalLM) -> None:
    tokenizer = texts_run.tokenizer()
    assert tokenizer is not None
    torch.manual_seed(4)
    before = torch.random.get_rng_state()
    first, same, other = (
        sample_texts(texts_model, tokenizer, [[0, 40], [0, 40]], {}, Sampling(4, 8, seed)) for seed in (0, 0, 1)
    )
    assert first == same
    assert first != other
    assert first[0] != first[1]
    assert torch.equal(torch.random.get_rng_state(), before)


def test_scores_of_continuations_by_hand() -> None:
    made = iter([np.array([0.1, 0.7]), np.array([0.2, 0.4])])
    found = continuation_scores([["a", "b"], ["c", "d"]], lambda texts: next(made))
    assert found == pytest.approx({"expected_max": 0.55, "probability": 0.5, "mean": 0.35})


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"thresholds": []}, "thresholds"),
        ({"thresholds": [1.0]}, "thresholds"),
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
    assert len(passes) == at + 3  # of five, two were done
    file = texts_run.path / "analysis" / "purge.json"
    resumed = file.read_bytes()
    purge_scores(texts_run, texts_model, **settings)
    assert file.read_bytes() == resumed
    assert not (texts_run.path / "analysis" / "purge.state").exists()
