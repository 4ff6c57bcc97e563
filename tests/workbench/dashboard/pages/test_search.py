"""The search page: each kind's answer, and only the one asked for."""

from __future__ import annotations

import re
from collections.abc import Callable
from types import ModuleType

import pytest

from workbench.dashboard import found, found_text
from workbench.dashboard.application import draw
from workbench.dashboard.context import Context
from workbench.dashboard.links import Address, document_link, search_link
from workbench.dashboard.pages import read_address
from workbench.dashboard.pages.search import answer
from workbench.search import documents_matching, experts_firing_on, occurrences

Page = Callable[[Context, str], str]


def _answer(ctx: Context, **query: str) -> str:
    drawn = answer(ctx, Address("search", query=query))
    return str(drawn)


def test_firing_experts_are_listed_with_counts(ctx: Context) -> None:
    shown = _answer(ctx, q="print")
    best = experts_firing_on(ctx.run, "print").iloc[0]
    assert f"{len(occurrences(ctx.run, 'print')):,} " in shown
    assert f"/expert/{best['group']:.0f}/{best['expert']:.0f}" in shown
    assert f"{best['f1']:.3f}" in shown
    only = _answer(ctx, q="print", group="1")
    assert "/expert/1/" in only
    assert "/expert/0/" not in only


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ({"q": "zebra"}, "No tokens of this run spell it"),
        ({"q": "print", "group": "x"}, "is no number of a group"),
        ({"q": "print", "kind": "text", "by": "luck"}, "experts are ranked by"),
        ({"q": "print", "kind": "text", "density": "x"}, "is no density"),
        ({"q": "/(/"}, "is no regular expression"),
        ({"q": "zebra", "kind": "documents"}, "No document of this run matches"),
        ({"q": "zebra", "kind": "explanations"}, "No label has it in its name"),
    ],
)
def test_what_is_not_found_or_not_valid_is_said(ctx: Context, query: dict[str, str], said: str) -> None:
    assert said.casefold() in _answer(ctx, **query).casefold()


def test_text_has_its_tokens_and_scores(ctx: Context) -> None:
    shown = _answer(ctx, q="def f", kind="text", by="max")
    assert "'data-token': '4'" in shown
    assert "'data-scores': '" in shown
    assert search_link("d", "firing") in shown


def test_documents_show_the_match_and_the_experts(ctx: Context) -> None:
    shown = _answer(ctx, q="/wor(ld|k)/")
    assert f"{documents_matching(ctx.run, 'world').total} documents" in shown
    assert "'tag': 'mark'" in shown
    first = documents_matching(ctx.run, "wor(ld|k)", regex=True, limit=1).hits.iloc[0]
    assert document_link(first["doc"], token=first["first_row"]) in shown
    assert "/expert/0/" in shown


def test_explanations_and_labels(ctx: Context, hostile: str) -> None:
    assert hostile in _answer(ctx, q="fires", kind="explanations")
    assert "/labels/lua" in _answer(ctx, q="lua", kind="explanations")


def _ids(shown: str) -> list[str]:
    return re.findall(r"/expert/(\d+/\d+)'", shown)


@pytest.mark.parametrize(("query", "module"), [({"q": "print"}, found), ({"q": "def f", "kind": "text"}, found_text)])
def test_experts_come_a_page_at_a_time(
    ctx: Context, monkeypatch: pytest.MonkeyPatch, query: dict[str, str], module: ModuleType
) -> None:
    whole = _ids(_answer(ctx, **query))
    assert len(whole) > 4
    for changed in {found, module}:
        monkeypatch.setattr(changed, "EXPERTS", 2)
    first, second = _answer(ctx, **query), _answer(ctx, **query, page="2")
    assert _ids(first) + _ids(second) == whole[:4]
    assert search_link(query["q"], query.get("kind", "firing"), page=2) in first
    assert search_link(query["q"], query.get("kind", "firing"), page=1) in second
    assert "is not a whole number" in _answer(ctx, **query, page="x")


def test_documents_come_a_page_at_a_time(ctx: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(found, "DOCUMENTS", 2)
    hits = documents_matching(ctx.run, "print").hits["doc"].tolist()
    assert len(hits) > 4
    for page, some in ((1, hits[:2]), (2, hits[2:4])):
        shown = _answer(ctx, q="print", kind="documents", page=f"{page}")
        assert re.findall(r"'document (\d+)'", shown) == [f"{doc}" for doc in some]
    assert search_link("print", "documents", page=3) in shown
    assert f"{len(hits)} documents: " in _answer(ctx, q="print", kind="documents", page="999")  # after the last page


def test_density_has_a_slider_that_stands_where_the_address_says(ctx: Context) -> None:
    shown = _answer(ctx, q="def f", kind="text", density="0.1", by="max")
    assert "'id': 'search-density'" in shown
    assert "'value': -1.0" in shown
    assert "active at no more than 10 % of the corpus" in shown
    assert search_link("def f", "text", by="frequency", density="0.1") in shown
    query = {"q": "def f", "kind": "text", "density": "0.1", "by": "max", "page": "3"}
    assert found_text.narrowed(query, -1.0) is None
    assert found_text.narrowed(query, -2.0) == search_link("def f", "text", by="max", density="0.01")
    assert found_text.narrowed(query, 0) == search_link("def f", "text", by="max")


def test_only_the_kind_asked_for_is_computed(ctx: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name in ((found, "experts_at"), (found_text, "experts_of_text"), (found, "explanations_matching")):
        monkeypatch.setattr(module, name, None)
    assert "'tag': 'mark'" in _answer(ctx, q="print", kind="documents")


def test_empty_page_suggests_searches(ctx: Context, page: Page) -> None:
    assert search_link(r"/\b\d{4}\b/") in page(ctx, "/search")


def test_unknown_kind_is_not_found(ctx: Context) -> None:
    drawn = draw(ctx, read_address("/search", "?q=a&kind=luck"))
    assert drawn.status == 404
