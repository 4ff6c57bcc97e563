"""Colours of labels: the Okabe-Ito palette, distinct under the common kinds of colour blindness."""

from __future__ import annotations

from collections.abc import Sequence

OKABE_ITO = ("#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7")
NO_LABEL_COLOUR = "#9aa0a8"  # of generalists, and where nothing has been analysed
RAISES, LOWERS = "#0072B2", "#D55E00"


def _darker(colour: str, factor: float) -> str:
    channels = (int(colour[at : at + 2], 16) for at in (1, 3, 5))
    return "#" + "".join(f"{round(c * factor):02X}" for c in channels)


def label_colours(labels: Sequence[str]) -> dict[str, str]:
    """A colour for each label, in the order given; past seven labels the palette repeats in darker shades.

    Colour alone never tells labels apart: the name is always beside it.
    """
    colours = {}
    for position, label in enumerate(labels):
        lap, slot = divmod(position, len(OKABE_ITO))
        colours[label] = _darker(OKABE_ITO[slot], 0.62**lap)
    return colours


def score_shade(score: float, top: float) -> str:
    """Strength of the score colour behind a token, as a CSS percentage of the ``top`` score shown."""
    return f"{100 * min(max(score / top, 0.0), 1.0) if top > 0 else 0:.0f}%"
