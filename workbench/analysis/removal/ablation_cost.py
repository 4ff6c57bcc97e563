"""What zero-ablating one expert costs: the rise in the loss of the documents where it is active, by label."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ...errors import BadInputError
from ...progress import Progress, silent
from ..checks import check_same_model
from ..defaults import LEVEL, SAMPLES
from ..units import document_units
from ..windows import read_windows
from .bootstrap import resampled_means
from .choose import removal
from .losses import split_losses

if TYPE_CHECKING:
    from monet_model import MonetForCausalLM

    from ...store import Run

DOCUMENTS = 64  # measured, at most
LEAST_UNITS = 2  # texts of a label that make an interval


def active_documents(run: Run, group: int, expert: int, documents: int = DOCUMENTS, seed: int = 0) -> pd.DataFrame:
    """Return a sample of the documents where an expert is active, drawn at random, each label as many as it has room.

    Args:
        run: an opened run.
        group: number of the group.
        expert: flat expert id.
        documents: how many at most; a label with fewer than its part leaves room to the others.
        seed: of the draw.

    Returns:
        Rows of ``run.documents`` in corpus order, and ``active``: documents of the label where the expert is active.

    Raises:
        NotFoundError: the run has no such group or expert.
        BadInputError: ``documents`` is below 1.

    Examples:
        >>> from workbench import open_run
        >>> from workbench.analysis.removal.ablation_cost import active_documents
        >>> run = open_run("runs/demo")
        >>> len(active_documents(run, 0, int(run.top_experts(0, limit=1).index[0]), documents=14))
        14
    """
    if documents < 1:
        raise BadInputError(f"documents must be at least 1, got {documents}.")
    found = run.documents.iloc[np.unique(run.activations(group, expert)["doc"])]
    found = found.assign(active=found.groupby("label")["doc"].transform("size"))
    drawn = found.sample(frac=1, random_state=seed)
    turn = drawn.groupby("label").cumcount()  # one of each label by turns
    return drawn.loc[turn.sort_values(kind="stable").index[:documents]].sort_values("doc")


def ablation_cost(
    run: Run,
    model: MonetForCausalLM,
    group: int,
    expert: int,
    *,
    documents: int = DOCUMENTS,
    seed: int = 0,
    advance: Progress = silent,
) -> pd.DataFrame:
    """Return what zero-ablating an expert does to the loss of each label, on documents where it is active.

    An expert that is active at few tokens can change few predictions: the rise over a document is small even where it
    is decisive. So the rise is also given over the tokens that come right after those where the expert is active.

    The expert scores 0 in every layer of its group; nothing is renormalised. Intervals are percentile bootstraps over
    documents, near copies together, as ``bootstrap_mask`` makes them. Documents where the expert is not active cannot
    change, so over a label's whole corpus the rise is smaller.

    Args:
        run: an opened run.
        model: the model it was exported from, in evaluation mode.
        group: number of the group.
        expert: flat expert id.
        documents: how many to measure at most: see ``active_documents``.
        seed: of the draw and of the bootstrap.
        advance: called with the tokens predicted since its last call; each counts twice, without and with the expert.

    Returns:
        One row per label in which the expert is active, largest rise first; no rows for an expert that never is.

        - label
        - documents: how many were measured
        - active: how many there are where the expert is active
        - tokens: predicted tokens of the measured ones
        - rise: mean rise in loss, nats per token
        - low, high: its 95 % interval; missing for a single text
        - next_tokens: of these tokens, those that follow one where the expert is active
        - next_rise, next_low, next_high: the same of them alone; missing where there are none

    Raises:
        NotFoundError: the run has no such group or expert.
        BadInputError: ``documents`` is below 1.
        UnsupportedError: the model is not the one the run was exported from.

    Examples:
        >>> from workbench import open_run
        >>> from workbench.analysis import ablation_cost
        >>> from workbench.checkpoint import load_model
        >>> run = open_run("runs/demo")
        >>> expert = int(run.top_experts(1, limit=1).index[0])
        >>> cost = ablation_cost(run, load_model("monet_model/demo"), 1, expert, documents=7)
        >>> cost.columns[:7].tolist()
        ['label', 'documents', 'active', 'tokens', 'rise', 'low', 'high']
    """
    sample = active_documents(run, group, expert, documents, seed)
    check_same_model(run, model)
    windows = read_windows(run, sample)
    edit = removal([run.group_layers[run.groups.index(group)]], [np.array([expert])], run.num_keys)
    active = np.zeros(run.tokens_total, bool)
    active[run.activations(group, expert)["row"]] = True
    plain, plain_rest = split_losses(model, windows, {}, active, advance)
    ablated, ablated_rest = split_losses(model, windows, edit, active, advance)
    table = pd.DataFrame(
        {
            "doc": sample["doc"].to_numpy(),
            "unit": document_units(sample),
            "label": sample["label"].to_numpy(),
            "active": sample["active"].to_numpy(),
            "tokens": plain.tokens + plain_rest.tokens,
            "loss": plain.loss + plain_rest.loss,
            "ablated": ablated.loss + ablated_rest.loss,
        }
    )
    after = table.assign(tokens=plain.tokens, loss=plain.loss, ablated=ablated.loss)
    of_all, of_next = _rises(table, seed), _rises(after, seed).reindex(sorted(set(table["label"])))
    cost = of_all.join(of_next[["tokens", "rise", "low", "high"]].add_prefix("next_"))
    cost["next_tokens"] = cost["next_tokens"].fillna(0).astype(np.int64)
    return (
        cost.rename_axis("label").reset_index().sort_values("rise", ascending=False, kind="stable", ignore_index=True)
    )


def _rises(table: pd.DataFrame, seed: int) -> pd.DataFrame:
    """The rise of each label that has predicted tokens, with its interval; indexed by label."""
    table = table[table["tokens"] > 0]
    labels = sorted(set(table["label"]))
    if not labels:
        columns = ["documents", "active", "tokens", "rise", "low", "high"]
        return pd.DataFrame(columns=columns, index=pd.Index([], dtype=object), dtype=float)
    draws = resampled_means(table, ["loss", "ablated"], labels, SAMPLES, seed)
    low, high = np.quantile(draws[:, 1] - draws[:, 0], [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    by_label = table.groupby("label").agg(
        documents=("doc", "size"),
        active=("active", "first"),
        tokens=("tokens", "sum"),
        loss=("loss", "sum"),
        ablated=("ablated", "sum"),
        units=("unit", "nunique"),
    )
    enough = (by_label["units"] >= LEAST_UNITS).to_numpy()
    rises = by_label[["documents", "active"]].assign(tokens=by_label["tokens"].astype(np.int64))
    return rises.assign(
        rise=(by_label["ablated"] - by_label["loss"]) / by_label["tokens"],
        low=np.where(enough, low, np.nan),
        high=np.where(enough, high, np.nan),
    )
