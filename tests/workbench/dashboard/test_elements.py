"""Plain elements are to a page what Dash's components of HTML are."""

from __future__ import annotations

import json

import dash_mantine_components as dmc
import pytest
from dash import dcc
from dash import html as components
from plotly.io.json import to_json_plotly

from workbench.dashboard.elements import html
from workbench.dashboard.freeze import Frozen, freeze


def test_an_element_is_sent_as_the_component_of_its_name() -> None:
    ours = html.Div([html.Label("a", htmlFor="b"), "text"], className="x", **{"aria-label": "y"})
    theirs = components.Div([components.Label("a", htmlFor="b"), "text"], className="x", **{"aria-label": "y"})
    assert json.loads(to_json_plotly(ours)) == json.loads(to_json_plotly(theirs))
    assert freeze(ours).tree == freeze(theirs).tree
    assert (ours.className, ours.children[1]) == ("x", "text")


def test_an_element_around_a_component_becomes_one() -> None:
    button, box = dmc.Button("Go", id="go"), dmc.Box([html.B("b"), "c"], id="box")
    frozen = freeze(html.Div([html.P("a"), html.Span(button), box], className="x"))
    assert isinstance(frozen, components.Div)
    paragraph, span, kept = frozen.children
    assert isinstance(paragraph, Frozen)
    assert isinstance(span, components.Span)
    assert span.children is button
    assert kept is box
    assert box.children[0].tree == {"tag": "b", "props": {}, "children": "b"}


def test_properties_that_are_none_are_left_out() -> None:
    assert freeze(html.Span(None, title=None, className="x")).tree == {
        "tag": "span",
        "props": {"className": "x"},
        "children": None,
    }


def test_names_that_html_lacks_are_refused() -> None:
    with pytest.raises(AttributeError, match="Nothing"):
        _ = html.Nothing
    with pytest.raises(AttributeError, match="href"):
        _ = html.A("a").href
    assert isinstance(freeze([dcc.Store(id="s"), None])[0], dcc.Store)
