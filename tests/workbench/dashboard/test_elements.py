"""Plain elements are to a page what Dash's components of HTML are."""

from __future__ import annotations

import json

import dash_mantine_components
import pytest
from dash import dcc as core
from dash import html as components
from dash.development.base_component import Component
from plotly.io.json import to_json_plotly

from workbench.dashboard.elements import Widget, dcc, dmc, html
from workbench.dashboard.freeze import Frozen, freeze


def test_an_element_is_sent_as_the_component_of_its_name() -> None:
    ours = html.Div([html.Label("a", htmlFor="b"), "text"], className="x", **{"aria-label": "y"})
    theirs = components.Div([components.Label("a", htmlFor="b"), "text"], className="x", **{"aria-label": "y"})
    assert json.loads(to_json_plotly(ours)) == json.loads(to_json_plotly(theirs))
    assert freeze(ours).tree == freeze(theirs).tree
    assert (ours.className, ours.children[1]) == ("x", "text")


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (dcc.Store(id="s", data={"a": [1]}), core.Store(id="s", data={"a": [1]})),
        (dmc.Button("Go", id="go", n_clicks=0), dash_mantine_components.Button("Go", id="go", n_clicks=0)),
        (dmc.Box("x", **{"aria-live": "off"}), dash_mantine_components.Box("x", **{"aria-live": "off"})),
        (dmc.Chip(children="x", value="y"), dash_mantine_components.Chip(children="x", value="y")),
    ],
)
def test_a_widget_is_sent_as_the_component_of_its_name(ours: Widget, theirs: Component) -> None:
    assert json.loads(to_json_plotly(ours)) == json.loads(to_json_plotly(theirs))


def test_properties_that_a_component_lacks_are_refused() -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument: `clicks`"):
        dmc.Button("Go", clicks=0)
    with pytest.raises(AttributeError, match="Nothing"):
        _ = dmc.Nothing
    assert dmc.Button("Go", id="go").id == "go"


def test_an_element_around_a_component_becomes_one() -> None:
    button, box = dmc.Button("Go", id="go"), dmc.Box([html.B("b"), "c"], id="box")
    frozen = freeze(html.Div([html.P("a"), html.Span(button), box], className="x"))
    assert frozen["type"] == "Div"
    paragraph, span, kept = frozen["props"]["children"]
    assert isinstance(paragraph, Frozen)
    assert span["type"] == "Span"
    assert span["props"]["children"] == button.to_plotly_json()
    assert kept["props"]["id"] == "box"
    assert kept["props"]["children"][0].tree == {"tag": "b", "props": {}, "children": "b"}


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
