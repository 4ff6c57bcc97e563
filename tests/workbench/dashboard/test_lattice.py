"""The map of experts as it is sent: a colour for every code, and codes that are packed small and whole."""

from __future__ import annotations

import re
import zlib
from base64 import urlsafe_b64decode

import numpy as np

from workbench.dashboard.lattice import (
    FADED_FILL,
    GENERALIST_FILL,
    TOO_LITTLE_FILL,
    UNSEEN_FILL,
    packed,
    paint,
)
from workbench.report.palette import CHOSEN_COLOUR, OTHER_LABELS_COLOUR, label_colours

FEW = {f"label {n}": 1 for n in range(11)}
MANY = {f"label {n}": 1 + n for n in range(300)}


def test_every_code_has_its_colour() -> None:
    colours = label_colours(FEW)
    assert paint(colours) == [UNSEEN_FILL, GENERALIST_FILL, *colours.values(), TOO_LITTLE_FILL]
    assert paint(label_colours(MANY))[2] == OTHER_LABELS_COLOUR


def test_highlight_fades_every_other_label() -> None:
    fills = paint(label_colours(FEW), "label 3")[1:]
    assert fills[4] == label_colours(FEW)["label 3"]
    assert set(fills[:4] + fills[5:]) == {FADED_FILL}
    assert paint(label_colours(MANY), "label 0")[2] == CHOSEN_COLOUR


def test_codes_of_the_map_are_packed_small_and_whole() -> None:
    codes = np.resize(np.arange(-1, 300, dtype=np.int16), (512, 512))
    text = packed(codes)
    assert re.fullmatch("[A-Za-z0-9_=-]+", text)
    back = np.frombuffer(zlib.decompress(urlsafe_b64decode(text)), "<i2")
    np.testing.assert_array_equal(back.reshape(512, 512), codes)
