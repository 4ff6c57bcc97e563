"""Colours of labels: the Okabe-Ito palette and five more, distinct under every kind of colour blindness."""

from __future__ import annotations

from collections.abc import Mapping

from .labels import natural_key

OKABE_ITO = ("#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7")
NO_LABEL_COLOUR = "#9aa0a8"  # of generalists, and where nothing has been analysed
# Chosen greedily: each as far as can be, in CIELAB as every kind of dichromat sees it, from those before and the grey.
LABEL_COLOURS = (*OKABE_ITO, "#A60DF2", "#BADEC0", "#7A4C1F", "#55F68B", "#B473FF")
MOST_COLOURED = len(LABEL_COLOURS)
OTHER_LABELS_COLOUR = "#6C7078"  # of all other labels: 3:1 and more on the page's white and its black
CHOSEN_COLOUR = "#D55E00"
RAISES, LOWERS = "#0072B2", "#D55E00"
SHADE_STEPS = (0.001, 0.01, 0.1, 1)  # scores in the legend of ``score_shade``


def label_colours(tokens: Mapping[str, int]) -> dict[str, str]:
    """A colour for each label, in the order given; past twelve, the largest have one each, the others grey.

    Colour alone never tells labels apart: the name is always beside it, or a hover away.

    Args:
        tokens: label -> its tokens.
    """
    coloured = set(coloured_labels(tokens))
    colours = iter(LABEL_COLOURS)
    return {label: next(colours) if label in coloured else OTHER_LABELS_COLOUR for label in tokens}


def coloured_labels(tokens: Mapping[str, int]) -> list[str]:
    """The labels with a colour of their own, in the order given: all, or the twelve largest."""
    largest = sorted(tokens, key=lambda label: (-tokens[label], natural_key(label)))[:MOST_COLOURED]
    return [label for label in tokens if label in set(largest)]


def highlight_colour(colour: str) -> str:
    """Colour of a label that is chosen: its own, or a strong one where it is one of the grey others."""
    return CHOSEN_COLOUR if colour == OTHER_LABELS_COLOUR else colour


def score_shade(score: float) -> str:
    """Strength of the score colour behind a token, as a CSS percentage: the cube root of the score, full from 1 on.

    It is the same for all experts, so that one that never scores high looks weak; ten times the score has about twice
    the colour. ``SHADE_STEPS`` are the scores that a legend shows.

    Examples:
        >>> from workbench.report.palette import SHADE_STEPS, score_shade
        >>> [score_shade(score) for score in SHADE_STEPS]
        ['10%', '22%', '46%', '100%']
    """
    return f"{100 * min(max(score, 0.0), 1.0) ** (1 / 3):.0f}%"
