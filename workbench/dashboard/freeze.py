"""Parts of a page that no callback touches, drawn at once by React itself.

Dash keeps a subscription for every component of a page and asks all of them at every step, so that drawing n components
costs n * n: a page of a thousand tokens takes a minute. Frozen, a tree of plain elements is one component to Dash.
"""

from __future__ import annotations

from typing import Any

from dash.development.base_component import Component

_PLAIN = "dash_html_components"


class Frozen(Component):
    """The Dash side of ``workbench.Frozen`` in assets/dashboard.js: a tree of elements and text."""

    _namespace = "workbench"
    _type = "Frozen"
    _prop_names = ["tree"]
    _base_nodes = ["children"]
    _valid_wildcard_attributes: list[str] = []
    tree: Any


def freeze(node: Any) -> Any:
    """The same page with every tree of ``html`` components as one ``Frozen``; other components stay as they are.

    A callback can write to no ``html`` component of a frozen page: what one writes to must be another kind, such as
    ``dmc.Box``. Components are changed in place.
    """
    if isinstance(node, list | tuple):
        return [freeze(child) for child in node if child is not None]
    if not isinstance(node, Component) or isinstance(node, Frozen):
        return node
    children = freeze(getattr(node, "children", None))
    if node._namespace == _PLAIN and _is_plain(children):
        props = {name: value for name, value in node.to_plotly_json()["props"].items() if name != "children"}
        return Frozen(tree={"tag": node._type.lower(), "props": props, "children": _tree(children)})
    if children is not None:
        node.children = children
    return node


def _is_plain(children: Any) -> bool:
    if isinstance(children, list):
        return all(_is_plain(child) for child in children)
    return isinstance(children, Frozen) or not isinstance(children, Component)


def _tree(children: Any) -> Any:
    if isinstance(children, list):
        return [_tree(child) for child in children]
    return children.tree if isinstance(children, Frozen) else children
