"""The page of one document: its text, an expert's tokens in it, and what it says of bad addresses."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from workbench.analysis.activations import document_experts
from workbench.dashboard.application import draw
from workbench.dashboard.context import Context
from workbench.dashboard.links import document_link
from workbench.dashboard.pages import read_address
from workbench.report.numbers import score_text
from workbench.store.address import Expert

Page = Callable[[Context, str], str]


@pytest.fixture
def strongest(ctx: Context) -> Expert:
    return Expert(0, int(ctx.run.experts(0)["mass"].idxmax()))


def test_document_shows_the_expert_s_scores_and_its_neighbours(ctx: Context, page: Page, strongest: Expert) -> None:
    active = ctx.run.activations(*strongest)
    docs = np.unique(active["doc"])
    doc, row = int(docs[1]), int(active.loc[active["doc"] == docs[1], "row"].iloc[0])
    shown = page(ctx, document_link(doc, strongest, row).partition("#")[0])
    here = active[active["doc"] == doc]
    assert f"active at {len(here):,} tokens here" in shown
    assert score_text(here["score"].sum()) in shown
    assert f"'id': 'token-{row}'" in shown
    for other in (docs[0], docs[2]):
        assert document_link(int(other), strongest) in shown
    for score in here.loc[here["row"] != row, "score"]:
        assert f"'data-score': '{score_text(score)}'" in shown


def test_a_token_asked_for_stands_out_without_an_expert(ctx: Context, page: Page) -> None:
    row = int(ctx.run.documents["row"].iloc[1]) + 2
    shown = page(ctx, document_link(1, token=row).partition("#")[0])
    assert f"'className': 'token top', 'id': 'token-{row}'" in shown
    assert shown.count("token top") == 1


def test_document_without_an_expert_offers_its_strongest(ctx: Context, page: Page) -> None:
    shown = page(ctx, "/documents/0")
    for group in ctx.run.groups:
        g1, g2 = ctx.run.routing(slice(0, int(ctx.run.documents["tokens"].iloc[0])), group).dense()
        mass = np.einsum("thi,thj->ij", g1.numpy(), g2.numpy()).ravel()
        table = document_experts(ctx.run, 0, group, 10)
        np.testing.assert_allclose(table["mass"], np.sort(mass)[::-1][:10], rtol=1e-4)
        for expert in table["expert"]:
            assert document_link(0, Expert(group, expert)) in shown


@pytest.mark.parametrize(
    ("link", "status", "text"),
    [
        ("/documents/9999", 404, "no document 9999"),
        ("/documents/x", 400, "names no document"),
        ("/documents/0?expert=9:1", 404, "no group 9"),
        ("/documents/0?token=99999", 404, "oken row 99999 is not in document 0"),
        ("/documents/0?start=-1", 400, "'-1'; give a whole number"),
    ],
)
def test_bad_addresses_are_named(ctx: Context, page: Page, link: str, status: int, text: str) -> None:
    path, _, query = link.partition("?")
    assert draw(ctx, read_address(path, query)).status == status
    assert text in page(ctx, link)
