"""Attribution over a corpus: the mean of single attributions, one prompt at a time."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
import torch

from monet_model import MonetForCausalLM
from workbench.analysis import attribute, attribute_corpus
from workbench.errors import BadInputError, NotFoundError
from workbench.store import Run

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


def test_attribute_corpus_refuses_labels_and_tokens_that_are_not_there(run: Run, model: MonetForCausalLM) -> None:
    with pytest.raises(NotFoundError, match="has no label 'perl'"):
        attribute_corpus(run, model, 45, label="perl")
    with pytest.raises(BadInputError, match="target 128 lies outside the vocabulary"):
        attribute_corpus(run, model, 128)
    with pytest.raises(BadInputError, match=r"takes one token id, got \(4, 9\)"):
        attribute_corpus(run, model, (4, 9))  # type: ignore[arg-type]
    with pytest.raises(NotFoundError, match="token 11 never comes next in the documents of 'lisp'"):
        attribute_corpus(run, model, 11, label="lisp")
