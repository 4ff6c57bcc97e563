"""Links to another view of a page keep the rest of its address, and the page stays where it is."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest

from workbench.dashboard.application import create_app, draw
from workbench.dashboard.context import Context
from workbench.dashboard.expert.tokens import strongest
from workbench.dashboard.links import LIST_FIELDS, Address, label_link, overview_link, structure_link
from workbench.dashboard.pages import read_address
from workbench.dashboard.parts import tabs
from workbench.store.address import Expert

Page = Callable[[Context, str], str]
Press = Callable[..., dict[str, Any]]
LISTED = {"filter": '{"mass":{"filterType":"number","type":"greaterThan","filter":0}}', "sort": "mass-asc"}


@pytest.fixture
def expert(ctx: Context) -> Expert:
    return Expert(0, int(ctx.run.experts(0)["mass"].idxmax()))


def test_views_of_an_experts_tokens_keep_the_text_and_lead_to_the_tokens(
    ctx: Context, page: Page, expert: Expert
) -> None:
    path, text = f"/expert/{expert.group}/{expert.id}", "for i = 1"
    for show in ("", "ranges", "all"):
        asked = {"try": text, "label": "lua"} | ({"show": show} if show else {})
        shown = page(ctx, f"{path}?{urlencode(asked)}").partition("'which tokens are shown'")[2]
        links = re.findall(rf"'({path}(?:\?[^']*)?)', 'className': 'group-link", shown)
        views = [urlsplit(link) for link in links[:3]]
        assert [parse_qs(view.query).get("show") for view in views] == [None, ["ranges"], ["all"]]
        assert all(parse_qs(view.query)["try"] == [text] for view in views)
        assert all(parse_qs(view.query)["label"] == ["lua"] for view in views)
        assert {view.fragment for view in views} == {"tokens"}


def test_more_tokens_are_shown_where_the_first_ones_were(ctx: Context, expert: Expert) -> None:
    address = Address("expert", query={"n": "1", "try": "a b"})
    more = strongest(ctx, expert, address, ctx.run.examples(*expert, n=2))[-1]
    assert more.href.endswith("try=a+b#tokens")
    assert more.props["data-keeps"] == "try"


@pytest.mark.parametrize("query", ["group=1&try=x", "expert=3", "changes=2&n=5"])
def test_other_fields_of_the_address_do_no_harm(ctx: Context, expert: Expert, query: str) -> None:
    assert draw(ctx, read_address(f"/expert/{expert.group}/{expert.id}", query)).status == 200


def test_groups_keep_filter_order_and_colour(ctx: Context, page: Page) -> None:
    label = str(ctx.experts(0)["specialised"].iloc[0]) or ctx.labels[0]
    for link, other in (
        (overview_link(0, None, **LISTED), overview_link(1, None, **LISTED)),
        (overview_link(0, label, **LISTED), overview_link(1, label, **LISTED)),
        (label_link(label, 0, **LISTED), label_link(label, 1, **LISTED)),
        (structure_link(0, "mass"), structure_link(1, "mass")),
    ):
        assert f"'{other}'" in page(ctx, link)


def test_links_to_views_stay_in_place_and_take_what_scripts_set() -> None:
    _, drawn = tabs("view", [("one", "/?group=1", True)], keeps=LIST_FIELDS).children
    assert "in-place" in drawn.className.split()
    assert drawn.props["data-keeps"] == "filter sort"
    _, drawn = tabs("view", [("one", "/?group=1", True)]).children
    assert "data-keeps" not in drawn.props


def test_filtering_the_tokens_keeps_the_text_typed_since(ctx: Context, press: Press, expert: Expert) -> None:
    values = {
        "listing-run.n_clicks": 1,
        "listing-label.value": "lua",
        "listing-low.value": "0.5",
        "listing-query.data": {"show": "all", "page": "3", "try": "old"},
        "try-asked.data": "new",
        "expert-chosen.data": list(expert),
    }
    (changed,) = press(create_app(ctx.run), "listing-run.n_clicks", values)["url"].values()
    assert parse_qs(changed[1:]) == {"show": ["all"], "label": ["lua"], "low": ["0.5"], "try": ["new"]}
