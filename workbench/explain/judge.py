"""Judges: how well a passage fits an explanation. The offline one is a sentence encoder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from ..analysis.encoder import Encoder
from .passages import Passage


class Judge(Protocol):
    """Something that rates passages by explanations.

    Attributes:
        name: who judges, as stored with the scores.
        threshold: ratings from here on mean that the passage fits the explanation; None for ratings without a scale of
            their own, whose threshold is fitted on other passages.

    Examples:
        >>> import numpy as np
        >>> class Words:  # any object with name, threshold and rate is a judge
        ...     name, threshold = "words", 1.0
        ...     def rate(self, explanations, passages, marked):
        ...         return np.array([[float(e in p.text) for p in passages] for e in explanations])
        >>> from workbench.explain import Passage
        >>> Words().rate(["f"], [Passage(["def", " f"], np.array([False, True]))], marked=False)
        array([[1.]])
    """

    @property
    def name(self) -> str: ...

    @property
    def threshold(self) -> float | None: ...

    def rate(self, explanations: Sequence[str], passages: Sequence[Passage], marked: bool) -> NDArray[np.float64]:
        """Return how well each passage fits each explanation: (explanations, passages).

        Args:
            explanations: sentences.
            passages: passages.
            marked: True to rate the highlighted tokens (fuzzing), False to rate the passage as a whole (detection).
        """
        ...


@dataclass(frozen=True)
class EncoderJudge:
    """The offline judge: cosine similarity of sentence embeddings, of the explanation and of the passage.

    It rates the passage's text, or its highlighted tokens alone. The embedding score of Delphi (arXiv 2410.13928,
    section 3), as yes or no. It sees topics and words; it cannot follow a condition such as "only inside brackets".

    Attributes:
        encoder: the sentence encoder, of ``workbench.analysis.load_encoder``.

    Examples:
        >>> import numpy as np
        >>> from workbench.analysis import load_encoder
        >>> from workbench.explain import EncoderJudge, Passage
        >>> passages = [Passage([text], np.array([True])) for text in ("import numpy as np", "once upon a time")]
        >>> ratings = EncoderJudge(load_encoder()).rate(["Python imports"], passages, marked=False)
        >>> bool(ratings[0, 0] > ratings[0, 1])
        True
    """

    name: ClassVar[str] = "all-MiniLM-L6-v2"
    threshold: ClassVar[None] = None
    encoder: Encoder

    def rate(self, explanations: Sequence[str], passages: Sequence[Passage], marked: bool) -> NDArray[np.float64]:
        """Return similarities from -1 to 1, (explanations, passages)."""
        texts = [passage.marked_tokens if marked else passage.text for passage in passages]
        return self.encoder.encode(explanations).astype(np.float64) @ self.encoder.encode(texts).T
