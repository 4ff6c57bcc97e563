"""Parts of a page that no callback touches, drawn at once by React itself.

Dash keeps a subscription for every component of a page and asks all of them at every step, so that drawing n components
costs n * n: a page of a thousand tokens takes a minute. Frozen, a tree of plain elements is one component to Dash.
"""

from __future__ import annotations

from typing import Any

from dash.development.base_component import Component

from .elements import Element, Widget, sent

_PLAIN = "dash_html_components"
_AS_IT_IS = {str, dict, int, float}  # asked first: a page has thousands, and a type is cheaper than ``isinstance``


class Sent(dict[str, Any]):
    """A component in the form in which the browser gets it: ``namespace``, ``type`` and ``props``."""


class Frozen(Sent):
    """What ``workbench.Frozen`` in assets/dashboard.js draws: a tree of elements and text."""

    def __init__(self, tree: Any) -> None:
        super().__init__(sent("workbench", "Frozen", {"tree": tree}, None))

    @property
    def tree(self) -> Any:
        """Elements as ``plain`` makes them, text, or a list of these."""
        return self["props"]["tree"]


class _Mixed(list[Any]):
    """Children of which some are components."""


_COMPONENTS = frozenset({Sent, Frozen, _Mixed})


def plain(tag: str, children: Any = None, **props: Any) -> dict[str, Any]:
    """One element as the browser draws it, for what a page has hundreds of.

    Args:
        tag: its name in HTML.
        children: text, ``html`` elements, other such elements, or a list of these.
        props: its properties, as React names them.
    """
    return {"tag": tag, "props": props, "children": children if isinstance(children, str) else _part(children)}


def freeze(node: Any) -> Any:
    """The same page as it is sent: every tree of elements is one ``Frozen``, every other component a ``Sent``.

    A callback can write to no element of a frozen page: what one writes to must be another kind, such as ``dmc.Box``.
    """
    if isinstance(node, list | tuple):
        return [freeze(child) for child in node if child is not None]
    return _around(_part(node)) if isinstance(node, Element | Component) else node


def _part(node: Any) -> Any:
    """A part of a page as the browser draws it; a component where it is one to Dash, or has such a one inside."""
    kind = type(node)
    if node is None or kind in _AS_IT_IS:
        return node
    if kind is Element:
        return _element(node.name, node.props, _part(node.children))
    if kind is list or kind is tuple:
        parts = [_part(child) for child in node if child is not None]
        return parts if _COMPONENTS.isdisjoint(map(type, parts)) else _Mixed(parts)
    if kind is Frozen:
        return node.tree
    if kind is Widget:
        return Sent(sent(node.kind.namespace, node.name, node.props, _around(_part(node.children))))
    return _component(node) if isinstance(node, Component) else node


def _element(name: str, props: dict[str, Any], children: Any) -> Any:
    if type(children) in _COMPONENTS:
        return Sent(sent(_PLAIN, name, props, _around(children)))
    if None in props.values():
        props = {name: value for name, value in props.items() if value is not None}
    return {"tag": name.lower(), "props": props, "children": children}


def _component(node: Component) -> Any:
    """One of Dash's own."""
    made = node.to_plotly_json()
    props = {name: value for name, value in made["props"].items() if name != "children"}
    children = _part(getattr(node, "children", None))
    if made["namespace"] == _PLAIN:
        return _element(made["type"], props, children)
    return Sent(sent(made["namespace"], made["type"], props, _around(children)))


def _around(children: Any) -> Any:
    """Children of a component: what the browser draws by itself is one component each."""
    kind = type(children)
    if kind is list or kind is _Mixed:
        return [_around(child) for child in children]
    return Frozen(children) if kind is dict else children
