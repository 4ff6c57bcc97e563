"""The lattice of a group's experts as the browser draws it: codes, their colours, and the map to click."""

from __future__ import annotations

import zlib
from base64 import urlsafe_b64encode
from collections.abc import Mapping

import numpy as np
from dash.development.base_component import Component

from ..report.palette import highlight_colour

GENERALIST_FILL = "rgba(128, 134, 144, 0.42)"
TOO_LITTLE_FILL = "rgba(128, 134, 144, 0.20)"
FADED_FILL = "rgba(128, 134, 144, 0.12)"
UNSEEN_FILL = "rgba(0, 0, 0, 0)"
PACKING = 3  # a quarter of the time of the default level, and no larger for a map


class ExpertMap(Component):
    """The Dash side of ``workbench.ExpertMap`` in assets/map.js: one cell per expert, row i the key of set 1, column j
    that of set 2; those never active are blank. A click opens an expert.

    Its properties: ``group``; ``keys`` (E); ``address``, the template of an expert's, and ``card``, that of its hover
    card; ``codes`` of ``packed``; and of every code from -1 on, its ``paint`` and its name in ``labels``.
    """

    _namespace = "workbench"
    _type = "ExpertMap"
    _prop_names = ["id", "group", "keys", "address", "card", "codes", "paint", "labels", "description"]
    _base_nodes = ["children"]
    _valid_wildcard_attributes: list[str] = []


def paint(colours: Mapping[str, str], highlight: str | None = None) -> list[str]:
    """The colour of every code of ``Context.codes``, from -1 on.

    Args:
        colours: label -> colour, in the order of the codes.
        highlight: the label to highlight; the others fade.
    """
    if highlight is None:
        return [UNSEEN_FILL, GENERALIST_FILL, *colours.values(), TOO_LITTLE_FILL]
    labels = [highlight_colour(fill) if name == highlight else FADED_FILL for name, fill in colours.items()]
    return [UNSEEN_FILL, FADED_FILL, *labels, FADED_FILL]


def packed(codes: np.ndarray) -> str:
    """The codes of a map for the script in the browser that draws it: int16, deflated, in the URL's base 64, which JSON
    need not escape."""
    return urlsafe_b64encode(zlib.compress(codes.astype("<i2").tobytes(), PACKING)).decode()
