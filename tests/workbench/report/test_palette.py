"""Colours of labels and scores."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from workbench.report.palette import (
    CHOSEN_COLOUR,
    LABEL_COLOURS,
    MOST_COLOURED,
    OTHER_LABELS_COLOUR,
    coloured_labels,
    highlight_colour,
    label_colours,
    score_shade,
)


def _luminance(colour: str) -> float:
    channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


# Machado et al. 2009, severity 1: what linear RGB looks like without one kind of cone
EYES = {
    "all cones": [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
}
XYZ = [[0.433953, 0.376219, 0.189828], [0.212673, 0.715152, 0.072175], [0.017757, 0.109477, 0.872766]]  # white is 1


def _seen(colour: str, eyes: str) -> np.ndarray:
    """A colour in CIELAB."""
    channels = np.array([int(colour[at : at + 2], 16) for at in (1, 3, 5)]) / 255
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    xyz = np.array(XYZ) @ np.clip(np.array(EYES[eyes]) @ linear, 0, 1)
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("eyes", EYES)
def test_colours_of_labels_differ_to_every_eye(eyes: str) -> None:
    pairs = combinations([*LABEL_COLOURS, OTHER_LABELS_COLOUR], 2)
    apart = {(a, b): np.linalg.norm(_seen(a, eyes) - _seen(b, eyes)) for a, b in pairs}
    assert min(apart.values()) > 15, min(apart, key=apart.__getitem__)


def test_twelve_labels_get_twelve_colours() -> None:
    assert len(set(label_colours({f"label {n}": 1 for n in range(12)}).values())) == MOST_COLOURED


def test_of_hundreds_the_largest_have_colours_and_the_others_share_grey() -> None:
    tokens = {f"label {n}": 1000 + n for n in range(300)}
    colours = label_colours(tokens)
    assert list(colours) == list(tokens)
    assert coloured_labels(tokens) == [f"label {n}" for n in range(288, 300)]
    assert {colours[f"label {n}"] for n in range(288)} == {OTHER_LABELS_COLOUR}
    assert len({colours[f"label {n}"] for n in range(288, 300)} - {OTHER_LABELS_COLOUR}) == MOST_COLOURED
    assert min(map(_luminance, colours.values())) > 0.08  # none near black


def test_of_equal_labels_the_first_in_natural_order_are_coloured() -> None:
    assert coloured_labels({str(n): 5 for n in range(299, -1, -1)}) == [str(n) for n in range(11, -1, -1)]


def test_grey_shows_on_white_and_on_black_and_a_chosen_label_is_coloured() -> None:
    grey = _luminance(OTHER_LABELS_COLOUR)
    assert 1.05 / (grey + 0.05) > 3
    assert (grey + 0.05) / (_luminance("#242424") + 0.05) > 3
    assert highlight_colour(OTHER_LABELS_COLOUR) == CHOSEN_COLOUR
    assert highlight_colour("#009E73") == "#009E73"


def test_shade_is_the_cube_root_of_the_score_and_stays_a_percentage() -> None:
    assert [score_shade(score) for score in (-1, 0, 0.008, 0.125, 1, 1.7)] == ["0%", "0%", "20%", "50%", "100%", "100%"]
