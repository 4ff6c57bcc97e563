"""Frozen pages: plain elements become one component, what callbacks use stays, text never turns into markup."""

from __future__ import annotations

import json

import dash_mantine_components as dmc
from dash import dcc, html
from plotly.io.json import to_json_plotly

from workbench.dashboard.freeze import Frozen, freeze, plain


def test_plain_tree_is_one_component() -> None:
    frozen = freeze(html.Div([html.Span("a", className="x"), None, "<script>", [html.Wbr(), 3]], **{"data-n": "1"}))
    assert isinstance(frozen, Frozen)
    assert json.loads(to_json_plotly(frozen))["props"]["tree"] == {
        "tag": "div",
        "props": {"data-n": "1"},
        "children": [
            {"tag": "span", "props": {"className": "x"}, "children": "a"},
            "<script>",
            [{"tag": "wbr", "props": {}, "children": None}, 3],
        ],
    }


def test_other_components_stay_where_they_are() -> None:
    store = dcc.Store(id="s")
    frozen = freeze([html.Div([html.P("a"), store]), dmc.Alert(html.B("b"), title="t"), "text"])
    div, alert, text = frozen
    assert isinstance(div, html.Div)
    assert isinstance(div.children[0], Frozen)
    assert div.children[1] is store
    assert alert.children.tree["tag"] == "b"
    assert text == "text"


def test_freezing_again_changes_nothing() -> None:
    frozen = freeze(html.P("a"))
    assert freeze(frozen) is frozen
    assert freeze(html.Div(frozen)).tree["children"] == frozen.tree


def test_plain_elements_may_hold_components() -> None:
    frozen = freeze(html.P([plain("span", [html.B("a"), "b"], className="x"), plain("i", "c")]))
    assert json.loads(to_json_plotly(frozen))["props"]["tree"]["children"] == [
        {
            "tag": "span",
            "props": {"className": "x"},
            "children": [{"tag": "b", "props": {}, "children": "a"}, "b"],
        },
        {"tag": "i", "props": {}, "children": "c"},
    ]
