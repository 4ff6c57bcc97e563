"""Attribution over a corpus: the mean of single attributions, one prompt at a time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from monet_model import MonetForCausalLM
from workbench.analysis import CorpusAttribution, attribute, attribute_corpus
from workbench.errors import BadInputError, NotFoundError
from workbench.store import Run, open_run

Cut = Callable[[list[int], int, int], list[tuple[list[int], int]]]


def prompts(run: Run, target: int, label: str | None, cut: Cut) -> list[list[int]]:
    """The part of each context window in front of every occurrence of a token."""
    found = []
    for document in run.documents.itertuples():
        if label is not None and document.label != label:
            continue
        bos = [document.bos] if pd.notna(document.bos) else []
        ids = bos + run.tokens(slice(document.row, document.row + document.tokens))["token"].tolist()
        for window, again in cut(ids, len(bos), 64):
            found += [window[:at] for at in range(max(1, again), len(window)) if window[at] == target]
    return found


@pytest.mark.parametrize("label", [None, "c"])
def test_attribute_corpus_is_the_mean_of_single_attributions(
    run: Run, model: MonetForCausalLM, label: str | None, cut: Cut
) -> None:
    found = attribute_corpus(run, model, 45, label=label)
    single = [attribute(model, torch.tensor([ids]), 45) for ids in prompts(run, 45, label, cut)]
    assert found.occurrences == len(single) > 5
    assert found.logit == pytest.approx(np.mean([a.logit for a in single]), abs=1e-5)
    rows = pd.concat([a.experts for a in single]).groupby(["layer", "expert"])["contribution"].agg(["sum", "count"])
    table = found.experts.set_index(["layer", "expert"])
    assert list(table.index) == list(rows.index)
    assert table["contribution"].to_numpy() == pytest.approx((rows["sum"] / len(single)).to_numpy(), abs=1e-5)
    assert table["active"].tolist() == rows["count"].tolist()
    rest = pd.concat([a.rest for a in single]).groupby("component")["contribution"].mean()
    assert found.rest.set_index("component")["contribution"].to_dict() == pytest.approx(rest.to_dict(), abs=1e-5)
    assert found.completeness <= 1e-4
    assert found.to_json(2)["experts"] == found.top(2).to_dict("records")
    assert (found.label, found.to_json()["occurrences"]) == (label, len(single))


def test_attribute_corpus_of_a_sample_reads_its_documents(run: Run, model: MonetForCausalLM) -> None:
    few = run.sample(3)
    found, whole = (attribute_corpus(one, model, 45) for one in (few, run))
    occurrences = 0
    for row, tokens in few.documents.query("kept")[["row", "tokens"]].itertuples(index=False):
        occurrences += int((run.tokens(slice(row, row + tokens))["token"] == 45).sum())
    assert 0 < found.occurrences < whole.occurrences
    assert found.occurrences in (occurrences, occurrences - 1)  # a first token is not predicted without one before it


def means(found: CorpusAttribution) -> pd.Series:
    """What is estimated, by name: experts, other components, and the logit."""
    experts = found.experts.set_index(["layer", "expert"])["contribution"]
    return pd.Series(
        {**experts.to_dict(), **found.rest.set_index("component")["contribution"].to_dict(), "logit": found.logit}
    )


def ends(found: CorpusAttribution) -> pd.DataFrame:
    """The intervals, by name."""
    assert found.logit_interval is not None
    low, high = ["contribution_low", "contribution_high"], {}
    for table, key in ((found.experts, ["layer", "expert"]), (found.rest, ["component"])):
        high |= table.set_index(key)[low].T.to_dict("list")
    return pd.DataFrame({**high, "logit": list(found.logit_interval)}, ["low", "high"]).T


def test_intervals_of_a_sample_are_of_a_ratio_over_documents(run: Run, model: MonetForCausalLM) -> None:
    run.__dict__["documents"] = run.documents.assign(original=run.documents["doc"] // 2 * 2)  # each a copy of the next
    found = attribute_corpus(run, model, 45, sample=4, seed=1)
    drawn = run.sample(4, seed=1, by_size=True)
    assert found.drawn == drawn.drawn
    chosen = drawn.documents[drawn.documents["kept"]]
    units = []
    for _, some in chosen.groupby("original"):
        kept = run.documents["doc"].isin(some["doc"])
        drawn.__dict__["documents"] = run.documents.assign(kept=kept)
        try:
            one = attribute_corpus(drawn, model, 45)
        except NotFoundError:
            continue
        units.append((one.occurrences, means(one) * one.occurrences))
    own = np.array([count for count, _ in units])
    assert own.sum() == found.occurrences
    assert 2 < len(own) < len(chosen)
    added = pd.DataFrame([values for _, values in units]).fillna(0)
    mean = added.sum() / own.sum()
    away = ((added.to_numpy() - np.outer(own, mean)) ** 2).sum(0) * len(own) / (len(own) - 1)
    reach = 1.96 * np.sqrt((1 - len(chosen) / (run.documents["tokens"] > 0).sum()) * away) / own.sum()
    intervals = ends(found).loc[list(mean.index)]
    assert intervals["low"].to_numpy() == pytest.approx(mean.to_numpy() - reach, abs=1e-5)
    assert intervals["high"].to_numpy() == pytest.approx(mean.to_numpy() + reach, abs=1e-5)
    assert (reach > 1e-3).any()


def test_a_sample_of_everything_is_exact(run: Run, model: MonetForCausalLM) -> None:
    whole, drawn = attribute_corpus(run, model, 45), attribute_corpus(run, model, 45, sample=10**6)
    wanted = means(whole)
    assert whole.drawn is whole.logit_interval is None
    assert "contribution_low" not in whole.experts
    assert drawn.drawn is not None
    assert drawn.drawn.documents == (run.documents["tokens"] > 0).sum()
    assert means(drawn)[list(wanted.index)].to_numpy() == pytest.approx(wanted.to_numpy(), abs=1e-5)
    for end in ("low", "high"):
        assert ends(drawn)[end][list(wanted.index)].to_numpy() == pytest.approx(wanted.to_numpy(), abs=1e-5)


def test_a_sample_of_a_label_is_of_its_documents(run: Run, model: MonetForCausalLM) -> None:
    found = attribute_corpus(run, model, 45, label="c", sample=2)
    assert found.drawn is not None
    assert (found.drawn.documents, found.drawn.of_documents) == (
        2,
        len(run.documents.query("label == 'c' and tokens > 0")),
    )
    assert found.to_json()["sample"] == found.drawn.to_json()
    with pytest.raises(BadInputError, match="at least one document"):
        attribute_corpus(run, model, 45, sample=0)


def test_the_interval_of_a_sample_holds_the_mean_of_all_documents(text_run_path: Path) -> None:
    run = open_run(text_run_path)
    model: MonetForCausalLM = MonetForCausalLM.from_pretrained(run.model_path).eval()
    target = int(run.tokens(slice(None))["token"].mode()[0])
    whole, held = means(attribute_corpus(run, model, target)), []
    for seed in range(20):
        few = attribute_corpus(run, model, target, sample=20, seed=seed)
        names = [*few.rest["component"], "logit", *few.top(10)[["layer", "expert"]].itertuples(index=False, name=None)]
        intervals = ends(few).loc[names]
        held.append(((intervals["low"] <= whole.loc[names]) & (whole.loc[names] <= intervals["high"])).mean())
    assert 0.85 <= np.mean(held) <= 1.0  # 95 % asked; the ten largest of a sample are chosen among its errors


def test_attribute_corpus_refuses_labels_and_tokens_that_are_not_there(run: Run, model: MonetForCausalLM) -> None:
    with pytest.raises(NotFoundError, match="has no label 'perl'"):
        attribute_corpus(run, model, 45, label="perl")
    with pytest.raises(BadInputError, match="target 128 lies outside the vocabulary"):
        attribute_corpus(run, model, 128)
    with pytest.raises(BadInputError, match=r"takes one token id, got \(4, 9\)"):
        attribute_corpus(run, model, (4, 9))  # type: ignore[arg-type]
    with pytest.raises(NotFoundError, match="token 11 never comes next in the documents of 'lisp'"):
        attribute_corpus(run, model, 11, label="lisp")
