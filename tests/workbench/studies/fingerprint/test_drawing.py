"""Keys: text that is cut into the same tokens again, in no corpus given, by the secret alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from workbench.errors import BadInputError
from workbench.studies.fingerprint import draw_fingerprints, next_token_logits, rederived
from workbench.studies.fingerprint.occurrences import Occurrences
from workbench.studies.fingerprint.schemes import word_ids

BAND = (0.002, 0.2)


def test_keys_are_the_tokens_of_their_text_and_differ(tiny: Any) -> None:
    for scheme in ("perinucleus", "english", "random"):
        found = tiny.draw(40, scheme)
        texts = tiny.tokenizer.batch_decode(found.keys.tolist())
        again = tiny.tokenizer(texts)["input_ids"]
        assert [ids[1:] for ids in again] == found.keys.tolist()
        assert len(set(texts)) == 40
        assert np.isin(found.responses, word_ids(tiny.tokenizer, 101)).all()


def test_responses_have_the_probability_that_is_said_and_are_not_the_base_models(tiny: Any) -> None:
    found = tiny.draw(30, "perinucleus")
    probabilities = next_token_logits(tiny.load(), found.keys).softmax(1).numpy()
    np.testing.assert_allclose(found.base_probability, probabilities[np.arange(30), found.responses], rtol=1e-5)
    assert ((found.base_probability >= BAND[0]) & (found.base_probability <= BAND[1])).all()
    assert (probabilities.argmax(1) != found.responses).all()
    assert found.k == 3
    assert tiny.draw(5, "english").k == len(word_ids(tiny.tokenizer, 101)) == 62


def test_secret_and_seed_make_the_keys(tiny: Any) -> None:
    def keys(secret: bytes, seed: int) -> Any:
        drawn = draw_fingerprints(tiny.load(), tiny.tokenizer, 8, "english", secret, seed=seed, key_tokens=6)
        return drawn.fingerprints.keys

    same = keys(b"a", 0)
    np.testing.assert_array_equal(keys(b"a", 0), same)
    assert (keys(b"a", 1) != same).any()
    assert (keys(b"b", 0) != same).any()


def test_keys_of_a_corpus_are_drawn_again(tiny: Any) -> None:
    first = tiny.draw(20)
    present = Occurrences(list(first.keys[:7]), 6)
    drawn = draw_fingerprints(
        tiny.load(), tiny.tokenizer, 20, "english", b"secret", key_tokens=6, present=present, band=BAND
    )
    assert drawn.refused["in the corpus"] >= 7
    assert not present.contain(drawn.fingerprints.keys).any()


def test_beginnings_of_texts_are_keys_and_too_few_are_refused_with_the_reason(tiny: Any) -> None:
    texts = [f"word{n} and more" for n in range(12)] + ["no", "word1 and again"]
    found = tiny.draw(10, "english", texts=texts)
    beginnings = {text[:6] for text in texts}
    assert set(tiny.tokenizer.batch_decode(found.keys.tolist())) <= beginnings
    with pytest.raises(BadInputError, match=r"only \d+ of 50 keys .* 1 drawn before"):
        tiny.draw(50, "english", texts=texts)


def test_only_what_the_secret_picked_is_derived_again(tiny: Any) -> None:
    found = tiny.draw(20, "perinucleus")
    assert rederived(tiny.load(), tiny.tokenizer, found, BAND).all()
    forged = tiny.draw(20, "perinucleus")
    object.__setattr__(forged, "secret", b"another")
    assert rederived(tiny.load(), tiny.tokenizer, forged, BAND).mean() < 0.8


@pytest.mark.parametrize("changed", [{"count": 0}, {"key_tokens": 0}, {"k": 0}, {"temperature": 0.0}])
def test_numbers_that_make_no_sense_are_refused(tiny: Any, changed: dict[str, Any]) -> None:
    given = {"count": 4, "scheme": "perinucleus"} | changed
    with pytest.raises(BadInputError):
        tiny.draw(**given)
