"""Parts of a page that no callback touches, drawn at once by React itself.

Dash keeps a subscription for every component of a page and asks all of them at every step, so that drawing n components
costs n * n: a page of a thousand tokens takes a minute. Frozen, a tree of plain elements is one component to Dash.
"""

from __future__ import annotations

from typing import Any

from dash.development.base_component import Component

from .elements import Element

_PLAIN = "dash_html_components"
_AS_IT_IS = {str, dict, int, float}  # asked first: a page has thousands, and a type is cheaper than ``isinstance``


class Frozen(Component):
    """The Dash side of ``workbench.Frozen`` in assets/dashboard.js: a tree of elements and text."""

    _namespace = "workbench"
    _type = "Frozen"
    _prop_names = ["tree"]
    _base_nodes = ["children"]
    _valid_wildcard_attributes: list[str] = []
    tree: Any


def plain(tag: str, children: Any = None, **props: Any) -> dict[str, Any]:
    """One element as the browser draws it, for what a page has hundreds of.

    Args:
        tag: its name in HTML.
        children: text, ``html`` elements, other such elements, or a list of these.
        props: its properties, as React names them.
    """
    return {"tag": tag, "props": props, "children": children if isinstance(children, str) else _part(children)}


def freeze(node: Any) -> Any:
    """The same page with every tree of elements as one ``Frozen``; other components stay as they are.

    A callback can write to no element of a frozen page: what one writes to must be another kind, such as ``dmc.Box``.
    Components are changed in place.
    """
    if isinstance(node, list | tuple):
        return [freeze(child) for child in node if child is not None]
    if isinstance(node, Frozen) or not isinstance(node, Element | Component):
        return node
    return _around(_part(node))


def _part(node: Any) -> Any:
    """A part of a page as the browser draws it; a component where it is one to Dash, or has such a one inside."""
    if node is None or type(node) in _AS_IT_IS:
        return node
    if isinstance(node, list | tuple):
        return [_part(child) for child in node if child is not None]
    if isinstance(node, Element):
        children = _part(node.children)
        if _has_component(children):
            return node.component(_around(children))
        props = {name: value for name, value in node.props.items() if value is not None}
        return {"tag": node.name.lower(), "props": props, "children": children}
    if isinstance(node, Frozen):
        return node.tree
    return _frozen_component(node) if isinstance(node, Component) else node


def _frozen_component(node: Component) -> Any:
    children = _part(getattr(node, "children", None))
    if node._namespace == _PLAIN and not _has_component(children):
        props = {name: value for name, value in node.to_plotly_json()["props"].items() if name != "children"}
        return {"tag": node._type.lower(), "props": props, "children": children}
    if children is not None:
        node.children = _around(children)
    return node


def _has_component(children: Any) -> bool:
    if isinstance(children, list):
        return any(type(child) not in _AS_IT_IS and _has_component(child) for child in children)
    return type(children) not in _AS_IT_IS and isinstance(children, Component)


def _around(children: Any) -> Any:
    """Children of a component: what the browser draws by itself is one component each."""
    if isinstance(children, list):
        return [_around(child) for child in children]
    return Frozen(tree=children) if isinstance(children, dict) else children
