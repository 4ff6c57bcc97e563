"""Buttons of the circuit page, whose clicks ``assets/circuit.js`` takes."""

from __future__ import annotations

from typing import Any

from ..elements import Element, html
from ..parts import aria
from .traced import Traced


def button(does: str, shown: str, label: str | None = None, pressed: str | None = None, **said: str) -> Element:
    """A button that does something.

    Args:
        does: what: a name in ``press`` of the script.
        shown: its text.
        label: what it does, in words, for screen readers.
        pressed: whether it is, of one that stays.
        said: what the script is told with it.
    """
    data: dict[str, Any] = {"data-do": does} | {f"data-{name}": value for name, value in said.items()}
    return html.Button(shown, type="button", className="button act", **data, **aria(label=label, pressed=pressed))


def pin_button(traced: Traced, number: int) -> Element:
    """A node by name; a click pins it."""
    data: dict[str, Any] = {"data-pin": traced.names[number]}
    return html.Button(traced.title(number), type="button", className="circuit-node", **data)
