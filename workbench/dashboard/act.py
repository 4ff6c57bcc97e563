"""Buttons inside frozen trees: a click is written to a store, which a callback reads.

A list may have hundreds of buttons, and Dash slows down with every component it knows: see freeze.py.
"""

from __future__ import annotations

import json
from typing import Any

from .elements import Element, Widget, dcc, html
from .parts import aria


def act_store(store: str) -> Widget:
    """Where the clicks of buttons go; its ``data`` is what the button clicked last says."""
    return dcc.Store(id=store)


def act_button(text: str, store: str, label: str, **said: Any) -> Element:
    """A button; assets/kept.js puts ``said`` into the data of ``store`` when it is clicked.

    Args:
        text: shown on it.
        store: id of an ``act_store`` of the page.
        label: what it does, in words, for screen readers and as a hint.
        said: JSON types.
    """
    data: dict[str, Any] = {"data-store": store, "data-said": json.dumps(said)}
    return html.Button(text, type="button", className="button act", title=label, **data, **aria(label=label))
