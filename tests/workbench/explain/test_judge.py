"""The encoder judge: which texts it compares."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from workbench.explain import EncoderJudge, Passage


class Letters:
    """An encoder of single letters."""

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        counts = np.array([[text.count(c) for c in "abc"] for text in texts], np.float32)
        return counts / np.linalg.norm(counts, axis=1, keepdims=True)


def test_encoder_judge_compares_what_the_task_asks() -> None:
    judge = EncoderJudge(Letters())  # type: ignore[arg-type]
    passages = [Passage(list("abbc"), np.array([True, False, False, False])), Passage(list("bcc"), np.ones(3, bool))]
    whole, marks = (judge.rate(["a", "b"], passages, marked) for marked in (False, True))
    assert whole == pytest.approx(np.array([[6**-0.5, 0], [2 * 6**-0.5, 5**-0.5]]))
    assert marks == pytest.approx(np.array([[1, 0], [0, 5**-0.5]]))
    assert judge.threshold is None
