"""Elements of HTML and components of Dash as plain values: what pages are made of, a tenth of the cost of Dash's own.

A page has a thousand elements, which no callback touches: see ``freeze``, which hands them to the browser. Names and
properties are those of ``dash.html``, ``dash.dcc`` and ``dash_mantine_components``.

Examples:
    >>> from workbench.dashboard.elements import dcc, html
    >>> html.Span(["a ", html.Strong("b")], className="note")
    html.Span(['a ', html.Strong('b')], className='note')
    >>> dcc.Store(id="chosen", data=[0, 17])
    dcc.Store(id='chosen', data=[0, 17])
"""

from __future__ import annotations

from functools import partial
from inspect import signature
from types import ModuleType
from typing import Any

import dash_mantine_components
from dash import dcc as core_components
from dash import html as html_components
from dash.development.base_component import Component


class Element:
    """One element: its name as ``dash.html`` has it, its children, and its properties, which are attributes too."""

    __slots__ = ("children", "name", "props")

    def __init__(self, name: str, /, children: Any = None, **props: Any) -> None:
        self.name = name
        self.children = children
        self.props = props

    def to_plotly_json(self) -> Any:
        """What Dash sends for it where it was not frozen."""
        return sent("dash_html_components", self.name, self.props, self.children)

    def __getattr__(self, name: str) -> Any:
        try:
            return self.props[name]
        except KeyError:
            raise AttributeError(f"{self.name} was given no {name!r}") from None

    def __repr__(self) -> str:
        return self._told("html")

    def _told(self, package: str) -> str:
        given = [] if self.children is None else [repr(self.children)]
        given += [f"{name}={value!r}" for name, value in self.props.items()]
        return f"{package}.{self.name}({', '.join(given)})"


class Widget(Element):
    """One component of a package of Dash's, which callbacks may touch.

    Raises:
        TypeError: it has no such property.
    """

    __slots__ = ("kind",)

    def __init__(self, kind: Kind, children: Any = None, /, **props: Any) -> None:
        children = props.pop("children", children)
        if not props.keys() <= kind.properties:
            kind.component(**props)  # which takes names such as data-n and aria-label, and refuses others in words
        self.kind = kind
        super().__init__(kind.name, children, **props)

    def to_plotly_json(self) -> Any:
        """What Dash sends for it."""
        return sent(self.kind.namespace, self.name, self.props, self.children)

    def __repr__(self) -> str:
        return self._told(self.kind.package)


def sent(namespace: str, name: str, props: dict[str, Any], children: Any) -> dict[str, Any]:
    """A component in the form in which the browser gets it."""
    return {
        "namespace": namespace,
        "type": name,
        "props": props if children is None else {"children": children, **props},
    }


class Kind:
    """A class of components: what it is called, and which properties it has."""

    def __init__(self, package: str, component: type[Component]) -> None:
        self.package = package
        self.component = component
        self.namespace: str = component._namespace
        self.name: str = component._type
        self.properties = frozenset(signature(component.__init__).parameters) - {"self", "children", "kwargs"}


class _Tags:
    """``html.Div(...)`` and the others, each made when it is first asked for."""

    def __getattr__(self, name: str) -> partial[Element]:
        if not hasattr(html_components, name):
            raise AttributeError(f"dash.html has no {name}")
        made = self.__dict__[name] = partial(Element, name)
        return made


class _Widgets:
    """The components of a package, each made known when it is first asked for."""

    def __init__(self, name: str, package: ModuleType) -> None:
        self._name, self._package = name, package

    def __getattr__(self, name: str) -> partial[Widget]:
        made = self.__dict__[name] = partial(Widget, Kind(self._name, getattr(self._package, name)))
        return made


html = _Tags()
dcc = _Widgets("dcc", core_components)
dmc = _Widgets("dmc", dash_mantine_components)
