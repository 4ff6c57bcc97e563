"""The cost of one expert, against the losses of single documents with and without it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from monet_model import MonetForCausalLM
from workbench.analysis import ablation_cost
from workbench.analysis.removal.ablation_cost import active_documents
from workbench.errors import BadInputError, NotFoundError
from workbench.store import Run


def written_out(run: Run, model: MonetForCausalLM, doc: int) -> tuple[float, int]:
    """Summed loss and predicted tokens of a document, a window at a time."""
    loss, tokens = 0.0, 0
    for ids, rows in run.windows_of(doc):
        with torch.no_grad():
            logits = model(torch.from_numpy(ids)[None]).logits[0, :-1]
        each = cross_entropy(logits, torch.from_numpy(ids[1:]), reduction="none").numpy()
        loss += float(each[rows[1:] >= 0].sum())
        tokens += int((rows[1:] >= 0).sum())
    return loss, tokens


def after_active(run: Run, model: MonetForCausalLM, doc: int, here: set[int]) -> tuple[float, int]:
    """The same of the tokens that follow one where the expert is active."""
    loss, tokens = 0.0, 0
    for ids, rows in run.windows_of(doc):
        with torch.no_grad():
            logits = model(torch.from_numpy(ids)[None]).logits[0, :-1]
        each = cross_entropy(logits, torch.from_numpy(ids[1:]), reduction="none").numpy()
        counted = (rows[1:] >= 0) & np.isin(rows[:-1], list(here))
        loss += float(each[counted].sum())
        tokens += int(counted.sum())
    return loss, tokens


def test_rise_is_the_difference_of_losses_written_out(run: Run, model: MonetForCausalLM) -> None:
    expert = int(run.experts(1)["mass"].idxmax())
    seen: list[float] = []
    cost = ablation_cost(run, model, 1, expert, documents=1000, advance=lambda units, note="": seen.append(units))
    docs = run.documents.iloc[run.activations(1, expert)["doc"].unique()]
    factors = torch.ones(run.num_keys**2)
    factors[expert] = 0
    edit = {run.group_layers[1]: factors.view(run.num_keys, run.num_keys)}
    assert len(cost)
    assert set(cost["label"]) <= set(docs["label"])
    assert cost["rise"].is_monotonic_decreasing
    for row in cost.itertuples():
        chosen = docs.loc[docs["label"] == row.label, "doc"]
        plain = [written_out(run, model, doc) for doc in chosen]
        with model.edit_experts(edit):
            ablated = [written_out(run, model, doc) for doc in chosen]
        tokens = sum(one[1] for one in plain)
        rise = (sum(one[0] for one in ablated) - sum(one[0] for one in plain)) / tokens
        assert row.rise == pytest.approx(rise, abs=1e-6)
        assert row.tokens == tokens
        assert row.active == len(chosen)
        assert row.low <= row.rise <= row.high
    assert abs(cost["rise"]).max() > 1e-6  # of an expert that matters
    here = set(run.activations(1, expert)["row"])
    for row in cost.itertuples():
        chosen = docs.loc[docs["label"] == row.label, "doc"]
        plain = [after_active(run, model, doc, here) for doc in chosen]
        with model.edit_experts(edit):
            ablated = [after_active(run, model, doc, here) for doc in chosen]
        assert row.next_tokens == sum(one[1] for one in plain) > 0
        rise = (sum(one[0] for one in ablated) - sum(one[0] for one in plain)) / row.next_tokens
        assert row.next_rise == pytest.approx(rise, abs=1e-5)
        assert row.next_low <= row.next_rise <= row.next_high
    assert sum(seen) == 2 * cost["tokens"].sum()


def test_sample_is_bounded_and_takes_each_label_by_turns(run: Run) -> None:
    expert = int(run.experts(0)["mass"].idxmax())
    everything = active_documents(run, 0, expert, 1000)
    assert set(everything["doc"]) == set(run.activations(0, expert)["doc"])
    some = active_documents(run, 0, expert, 6)
    counts = some["label"].value_counts()
    assert len(some) == 6
    assert counts.max() - counts.min() <= 1
    assert (active_documents(run, 0, expert, 6)["doc"] == some["doc"]).all()


def test_label_of_one_text_has_no_interval(run: Run, model: MonetForCausalLM) -> None:
    expert = int(run.experts(0)["mass"].idxmax())
    cost = ablation_cost(run, model, 0, expert, documents=1)
    assert cost["documents"].tolist() == [1]
    assert np.isnan(cost[["low", "high"]].to_numpy()).all()


def test_what_cannot_be_measured_is_refused(run: Run, model: MonetForCausalLM) -> None:
    with pytest.raises(BadInputError, match="at least 1, got 0"):
        ablation_cost(run, model, 0, 0, documents=0)
    with pytest.raises(NotFoundError, match="no group 9"):
        ablation_cost(run, model, 9, 0)
