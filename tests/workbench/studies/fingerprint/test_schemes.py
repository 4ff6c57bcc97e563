"""Candidates by scheme against plain loops, and the pick of the secret."""

from __future__ import annotations

import hashlib
import hmac

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from workbench.errors import BadInputError, NotFoundError
from workbench.studies.fingerprint.schemes import SCHEMES, any_word, perinucleus, pick, read_scheme


def plain(row: np.ndarray, words: list[int], k: int, low: float, high: float) -> tuple[list[int], float] | None:
    """The run of k words in the band whose mean log is nearest to its middle, and the mass of what is likelier."""
    order = sorted(words, key=lambda word: -row[word])
    best = None
    for at in range(len(order) - k + 1):
        run = order[at : at + k]
        if all(low <= row[word] <= high for word in run):
            off = abs(np.log(row[run]).mean() - np.log(low * high) / 2)
            if best is None or off < best[0]:
                best = (off, run, float(row[row > row[run[0]]].sum()))
    return None if best is None else best[1:]


@pytest.mark.parametrize("seed", range(3))
def test_perinucleus_takes_successive_words_of_the_band(seed: int) -> None:
    rng = np.random.default_rng(seed)
    probabilities = torch.from_numpy(rng.normal(0, 2, (40, 60))).softmax(1)
    words = np.sort(rng.choice(60, 35, replace=False))
    found = perinucleus(probabilities, words, 3, (0.01, 0.04))
    for n, row in enumerate(probabilities.numpy()):
        wanted = plain(row, words.tolist(), 3, 0.01, 0.04)
        assert found.usable[n] == (wanted is not None)
        if wanted is not None:
            assert found.ids[n].tolist() == wanted[0]
            assert found.nucleus[n] == pytest.approx(wanted[1])
    assert 0 < found.usable.sum() < 40


def test_perinucleus_needs_as_many_words_as_candidates() -> None:
    with pytest.raises(BadInputError, match="4 candidates"):
        perinucleus(torch.full((1, 5), 0.2), np.array([1, 2, 3]), 4, (0.01, 0.03))


def test_any_word_takes_every_word_whatever_its_probability() -> None:
    found = any_word(torch.full((2, 5), 0.2), np.array([1, 4]), 3, (0.01, 0.03))
    assert found.ids.tolist() == [[1, 4], [1, 4]]
    assert np.isnan(found.nucleus).all()


def test_the_pick_is_hmac_of_the_key_under_the_secret() -> None:
    keys, candidates = np.array([[1, 2], [3, 4]]), np.array([[10, 11, 12], [20, 21, 22]])
    digest = hmac.new(b"mine", np.array([3, 4], "<i8").tobytes(), hashlib.sha256).digest()
    assert pick(b"mine", keys, candidates)[1] == candidates[1][int.from_bytes(digest[:8], "little") % 3]


def test_the_pick_of_a_secret_is_uniform_and_another_secret_picks_otherwise() -> None:
    keys = np.arange(6000).reshape(3000, 2)
    candidates = np.tile(np.arange(3), (3000, 1))
    mine, other = pick(b"mine", keys, candidates), pick(b"other", keys, candidates)
    assert chisquare(np.bincount(mine)).pvalue > 1e-3
    assert abs((mine == other).mean() - 1 / 3) < 0.05


def test_a_scheme_that_is_not_there_is_named() -> None:
    assert list(SCHEMES) == ["perinucleus", "english", "random"]
    with pytest.raises(NotFoundError, match="no scheme 'pink'"):
        read_scheme("pink")
