"""Explanations that say what was asked for, and labels by their names."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import pandas as pd

from ..analysis.encoder import Encoder, encoder_folder, load_encoder
from ..explain import search_explanations

if TYPE_CHECKING:
    from ..store import Run

SHOWN = 20


def explanations_matching(run: Run, text: str, limit: int = SHOWN) -> pd.DataFrame:
    """Return the stored explanations that contain a text or its words and, where the sentence encoder is installed,
    those of similar meaning. Rules are found by their words.

    Args:
        run: an opened run.
        text: a word or a sentence; case does not matter.
        limit: number of explanations, at most.

    Returns:
        As ``workbench.explain.search_explanations``: those that contain the text first, then by ``words`` or
        ``similarity``, which is missing where the encoder is not installed.

    Raises:
        BadInputError: the text is blank.
        DamagedError: the stored explanations cannot be read, or the encoder's files cannot.
        UnsupportedError: another version wrote them.

    Examples:
        >>> from workbench import open_run
        >>> from workbench.search import explanations_matching
        >>> explanations_matching(open_run("runs/demo"), "loops").columns[:3].tolist()
        ['group', 'expert', 'kind']
    """
    return search_explanations(run, text, limit, _encoder())


@lru_cache(maxsize=1)
def _encoder() -> Encoder | None:
    return load_encoder() if encoder_folder() is not None else None


def labels_matching(run: Run, text: str) -> list[str]:
    """Return the labels whose name contains a text; case does not matter.

    Examples:
        >>> from workbench import open_run
        >>> from workbench.search import labels_matching
        >>> labels_matching(open_run("runs/demo"), "Java")
        ['java', 'javascript']
    """
    wanted = text.strip().casefold()
    return [label for label in run.labels if wanted and wanted in label.casefold()]
