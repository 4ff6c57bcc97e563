"""Judges: how well a passage goes with an explanation. The offline one is a sentence encoder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from ..analysis.encoder import Encoder
from .passages import Passage


class Judge(Protocol):
    """Something that holds passages against explanations.

    Attributes:
        name: who judges, as it is stored with the scores.
        threshold: ratings from here on mean that the passage goes with the explanation; None where ratings have no
            scale of their own, and a threshold has to be found on other passages.
    """

    @property
    def name(self) -> str: ...

    @property
    def threshold(self) -> float | None: ...

    def rate(self, explanations: Sequence[str], passages: Sequence[Passage], marked: bool) -> NDArray[np.float64]:
        """How well each passage goes with each explanation: (explanations, passages).

        Args:
            explanations, passages: the texts.
            marked: whether the marked tokens are what the explanation should fit (fuzzing), or the passage as a whole
                (detection).
        """
        ...


@dataclass(frozen=True)
class EncoderJudge:
    """Cosine similarity of sentence embeddings: of the explanation, and of the passage or of its marked tokens alone.

    The embedding score of Delphi (arXiv 2410.13928, section 3) in a yes-or-no form. It reads topics and words; it
    cannot follow a condition such as "only inside brackets".

    Attributes:
        encoder: the sentence encoder.
    """

    name: ClassVar[str] = "all-MiniLM-L6-v2"
    threshold: ClassVar[None] = None
    encoder: Encoder

    def rate(self, explanations: Sequence[str], passages: Sequence[Passage], marked: bool) -> NDArray[np.float64]:
        """Similarities, from -1 to 1."""
        texts = [passage.marked_tokens if marked else passage.text for passage in passages]
        return self.encoder.encode(explanations).astype(np.float64) @ self.encoder.encode(texts).T
