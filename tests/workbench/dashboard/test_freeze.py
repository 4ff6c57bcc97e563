"""Frozen pages: plain elements become one component, what callbacks use stays, text never turns into markup."""

from __future__ import annotations

import json

import dash_ag_grid as dag
import dash_mantine_components
import orjson
from dash import html as components
from plotly.io.json import to_json_plotly

from workbench.dashboard.elements import dcc, dmc, html
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
    frozen = freeze([html.Div([html.P("a"), dcc.Store(id="s", data=[1])]), dmc.Alert(html.B("b"), title="t"), "text"])
    div, alert, text = frozen
    assert (div["namespace"], div["type"]) == ("dash_html_components", "Div")
    paragraph, store = div["props"]["children"]
    assert isinstance(paragraph, Frozen)
    assert store == {"namespace": "dash_core_components", "type": "Store", "props": {"id": "s", "data": [1]}}
    assert alert["props"]["title"] == "t"
    assert alert["props"]["children"].tree["tag"] == "b"
    assert text == "text"


def test_components_of_dash_itself_are_sent_like_ours() -> None:
    ours = freeze(html.Div([html.Span("a", **{"data-n": "1"}), dmc.Box("b", id="x", **{"aria-live": "polite"})]))
    box = dash_mantine_components.Box("b", id="x", **{"aria-live": "polite"})
    assert freeze(components.Div([components.Span("a", **{"data-n": "1"}), box])) == ours
    (grid,) = freeze([dag.AgGrid(id="g", rowData=[{"a": 1}])])
    assert (grid["type"], grid["props"]["rowData"]) == ("AgGrid", [{"a": 1}])


def test_a_frozen_page_needs_no_further_encoding() -> None:
    page = freeze([html.P(html.B("a")), html.Div(dmc.Button("go", id="b")), dag.AgGrid(id="g"), components.Br()])
    assert orjson.loads(orjson.dumps(page)) == json.loads(to_json_plotly(page))


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
