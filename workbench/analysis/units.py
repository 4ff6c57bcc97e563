"""Documents as independent units: near copies of one text are one, and are never dealt to both sides of a split."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

LEVEL = 1.96  # standard errors to either side of an estimate: 95 %
CHOOSING_TOKENS = 3  # per measuring token: choosing experts takes more evidence than measuring a mean loss


def document_units(documents: pd.DataFrame) -> NDArray[np.int64]:
    """(documents,) the unit of each document: the number of the first document that it is a near copy of.

    A document without copies is a unit of its own.

    Args:
        documents: rows of ``Run.documents``, with their column ``original``.

    Examples:
        >>> from workbench import open_run
        >>> from workbench.analysis.units import document_units
        >>> run = open_run("runs/demo")
        >>> len(document_units(run.documents)) == len(run.documents)
        True
    """
    return documents["original"].to_numpy(np.int64)


def split_units(documents: pd.DataFrame) -> NDArray[np.int64]:
    """(documents,) what a split into choosing and measuring documents keeps together, as a number.

    Near copies, and the documents of a project where the corpus tells the project of every document of a label and the
    label has at least two: what is chosen on one project is then measured on another.

    Args:
        documents: rows of ``Run.documents``.

    Examples:
        >>> import pandas as pd
        >>> from workbench.analysis.units import split_units
        >>> rows = pd.DataFrame({"doc": [0, 1, 2, 3], "original": [0, 1, 2, 1], "label": "lua"})
        >>> split_units(rows.assign(project=["a", "b", "a", "a"])).tolist()  # the last one copies one of b
        [0, 1, 0, 1]
        >>> split_units(rows.assign(project="")).tolist()
        [0, 1, 2, 1]
    """
    project, label = documents["project"], documents["label"].astype(object)
    told = (project != "").groupby(label).transform("all") & (project.groupby(label).transform("nunique") > 1)
    first = documents.groupby([label, project], observed=True)["doc"].transform("min")
    kept_with = first.where(told, documents["doc"]).set_axis(documents["doc"])
    return documents["original"].map(kept_with).fillna(documents["original"]).to_numpy(np.int64)


def split_documents(
    label: NDArray[np.integer],
    tokens: NDArray[np.integer],
    seed: int,
    units: NDArray[np.integer] | None = None,
    choosing_tokens: int = CHOOSING_TOKENS,
) -> NDArray[np.bool_]:
    """(documents,) True for documents of the measuring part, False for those of the choosing part.

    The units of each label are shuffled and dealt one by one: the first goes to the choosing part, and each later one
    to the measuring part if that has fewer than a third of the choosing part's tokens so far. So each part has
    units of every label that has two, and the measuring part about a quarter of the label's tokens. A unit whose
    documents have several labels is dealt with those of its first document.

    Args:
        label: (documents,) label numbers.
        tokens: (documents,) tokens.
        seed: of the shuffle.
        units: (documents,) of ``document_units`` or ``split_units``; by default each document is one.
        choosing_tokens: per measuring token; 1 makes halves.
    """
    if units is None:
        units = np.arange(len(label))
    _, first, unit_of = np.unique(units, return_index=True, return_inverse=True)
    size = np.bincount(unit_of, tokens, len(first)).astype(np.int64)
    measures = np.zeros(len(first), bool)
    dealt: dict[int, list[int]] = {}
    # Documents are shuffled, not units, so that a copy more in a corpus leaves the split of all others as it was.
    order = unit_of[np.random.default_rng(seed).permutation(len(label))]
    for unit in order[np.sort(np.unique(order, return_index=True)[1])]:
        parts = dealt.setdefault(int(label[first[unit]]), [0, 0])
        part = int(choosing_tokens * parts[1] < parts[0])
        parts[part] += int(size[unit])
        measures[unit] = bool(part)
    return measures[unit_of]


def label_units(units: NDArray[np.int64], label: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The pairs of unit and label that occur: what labels can be permuted among.

    Args:
        units: (documents,) of ``document_units``.
        label: (documents,) label numbers.

    Returns:
        (documents,) number of each document's pair, numbered as they first occur, and (pairs,) their labels.
    """
    key = units * (label.max(initial=0) + 1) + label
    _, first, pair = np.unique(key, return_index=True, return_inverse=True)
    rank = np.argsort(np.argsort(first))
    return rank[pair], label[np.sort(first)]
