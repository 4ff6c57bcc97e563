"""States as tokens, and back."""

from __future__ import annotations

import numpy as np
import pytest

from workbench.studies.control import Fishery
from workbench.studies.control.tokens import (
    BINS,
    VOCABULARY,
    WIDTH,
    action_ids,
    make_tokenizer,
    populations_of,
    state_bins,
    state_codes,
    state_ids,
    state_texts,
    token_name,
)


def test_a_bin_holds_what_lies_between_its_edges() -> None:
    edges = np.arange(BINS) * WIDTH
    assert state_bins(edges).tolist() == list(range(BINS))
    assert state_bins(edges + 0.999 * WIDTH).tolist() == list(range(BINS))
    assert state_bins(np.array([1.7, 40.0])).tolist() == [BINS - 1, BINS - 1]


def test_a_token_stands_for_the_middle_of_its_bin() -> None:
    populations = np.random.default_rng(0).uniform(0, 1.6, (500, 3))
    ids = state_ids(Fishery.of(3), populations)
    assert np.abs(populations_of(ids[:, 1:]) - populations).max() <= WIDTH / 2 + 1e-9
    assert np.isnan(populations_of(np.array([0, *action_ids(Fishery.of(3))]))).all()


def test_the_tokenizer_reads_every_state_as_the_policy_does() -> None:
    tokenizer = make_tokenizer()
    values = np.tile((np.arange(BINS) + 0.5) * WIDTH, (3, 1)).T
    for model in (1, 3):
        texts = state_texts(Fishery.of(model), values)
        assert tokenizer(texts)["input_ids"] == state_ids(Fishery.of(model), values).tolist()
    assert tokenizer.decode([21, 73, 157]) == "X=0.51 Y=0.21 Z=0.71"


def test_names_of_tokens_differ() -> None:
    names = [token_name(number) for number in range(VOCABULARY)]
    assert len(set(names)) == VOCABULARY
    assert names[-2:] == ["Mx", "My"]


def test_equal_states_share_a_code_and_others_do_not() -> None:
    rng = np.random.default_rng(1)
    ids = state_ids(Fishery.of(3), rng.uniform(0, 1.6, (2000, 3)))
    distinct = {tuple(row) for row in ids.tolist()}
    assert len(set(state_codes(ids).tolist())) == len(distinct)


@pytest.mark.parametrize(("model", "length"), [(1, 2), (2, 4), (4, 4)])
def test_a_state_has_the_species_of_its_model(model: int, length: int) -> None:
    assert state_ids(Fishery.of(model), np.ones((5, 3))).shape == (5, length)
