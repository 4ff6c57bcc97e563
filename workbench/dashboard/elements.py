"""Elements of HTML as plain values: what pages are made of, a tenth of the cost of Dash's own components.

A page has a thousand of them, and no callback touches one: see ``freeze``, which hands them to the browser. Names and
properties are those of ``dash.html``.

Examples:
    >>> from workbench.dashboard.elements import html
    >>> html.Span(["a ", html.Strong("b")], className="note")
    html.Span(['a ', html.Strong('b')], className='note')
"""

from __future__ import annotations

from functools import partial
from typing import Any

from dash import html as components
from dash.development.base_component import Component


class Element:
    """One element: its name as ``dash.html`` has it, its children, and its properties, which are attributes too."""

    __slots__ = ("children", "name", "props")

    def __init__(self, name: str, children: Any = None, **props: Any) -> None:
        self.name = name
        self.children = children
        self.props = props

    def component(self, children: Any) -> Component:
        """The component of Dash that is this element around other children."""
        made: Component = getattr(components, self.name)(children, **self.props)
        return made

    def to_plotly_json(self) -> Any:
        """What Dash sends for it where it was not frozen."""
        return self.component(self.children).to_plotly_json()

    def __getattr__(self, name: str) -> Any:
        try:
            return self.props[name]
        except KeyError:
            raise AttributeError(f"html.{self.name} was given no {name!r}") from None

    def __repr__(self) -> str:
        given = [] if self.children is None else [repr(self.children)]
        given += [f"{name}={value!r}" for name, value in self.props.items()]
        return f"html.{self.name}({', '.join(given)})"


class _Tags:
    """``html.Div(...)`` and the others, each made when it is first asked for."""

    def __getattr__(self, name: str) -> partial[Element]:
        if not hasattr(components, name):
            raise AttributeError(f"dash.html has no {name}")
        made = self.__dict__[name] = partial(Element, name)
        return made


html = _Tags()
