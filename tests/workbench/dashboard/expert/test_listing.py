"""The list of every token of an expert: filters, copies folded, order, pages, and bad filters."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from workbench import open_run
from workbench.dashboard.context import Context
from workbench.dashboard.expert.listing import SHOWN, Wanted, listing, matching
from workbench.errors import BadInputError
from workbench.store.address import Expert

DOCUMENTS = pd.DataFrame({"doc": range(5), "source": ["Lib/a", "b", "lib/c", "", "e"], "original": [0, 1, 0, 3, 0]})
TOKENS = pd.DataFrame(
    {
        "row": [3, 9, 14, 15, 21, 30],
        "doc": [0, 1, 2, 2, 3, 4],
        "label": ["x", "y", "x", "x", "y", "x"],
        "score": [0.5, 0.25, 0.5, 0.75, 1.0, 0.125],
    }
)


@pytest.mark.parametrize(
    ("asked", "rows", "copies"),
    [
        ({}, [21, 3, 9], [0, 2, 0]),
        ({"corpus_order": True}, [3, 9, 21], [2, 0, 0]),
        ({"label": "y"}, [21, 9], [0, 0]),
        ({"source": "LIB"}, [3], [1]),
        ({"doc": 2}, [15, 14], [0, 0]),
        ({"low": 0.5, "high": 0.5}, [3], [1]),
        ({"low": 0.6}, [21, 15], [0, 0]),
        ({"label": "z"}, [], []),
    ],
)
def test_matching_tokens_with_copies_folded(asked: dict[str, object], rows: list[int], copies: list[int]) -> None:
    found = matching(TOKENS, DOCUMENTS, Wanted(**asked))  # type: ignore[arg-type]
    assert found["row"].tolist() == rows
    assert found["copies"].tolist() == copies


def test_pages_together_list_every_token_once(run_path: Path) -> None:
    ctx = Context(open_run(run_path))
    expert = Expert(0, int(ctx.run.experts(0)["mass"].idxmax()))
    everything = ctx.run.activations(*expert).sort_values(["score", "row"], ascending=[False, True])
    found = matching(everything, ctx.run.documents, Wanted())
    assert found["row"].tolist() == everything["row"].tolist()  # nothing in this run is a copy
    pages = -(-len(found) // SHOWN)
    assert pages > 1
    shown = str(listing(ctx, expert, {"page": str(pages), "group": "7"}))
    assert f"page {pages:,} of {pages:,}" in shown
    assert f"{len(found):,} of {len(found):,} tokens match" in shown
    for row in found.iloc[(pages - 1) * SHOWN :].itertuples():
        assert f"document {row.doc}, token {row.position}" in shown


def test_filters_are_read_from_the_address() -> None:
    asked = {"label": "x", "source": "s", "doc": "7", "low": " 0.5", "high": "1e0", "order": "corpus", "page": "3"}
    assert Wanted.read(asked) == Wanted("x", "s", 7, 0.5, 1.0, True, 3)
    assert Wanted.read({"doc": "", "low": ""}) == Wanted()
    assert np.isinf(Wanted().high)


@pytest.mark.parametrize(
    ("query", "text"),
    [({"low": "much"}, "the lowest score 'much'"), ({"high": "nan"}, "'nan'"), ({"doc": "1.5"}, "document '1.5'")],
)
def test_bad_filters_are_named(query: dict[str, str], text: str) -> None:
    with pytest.raises(BadInputError, match=text):
        Wanted.read(query)
