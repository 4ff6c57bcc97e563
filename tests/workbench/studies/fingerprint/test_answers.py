"""Logits after keys, read as the tokenizer would give them to the model."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from workbench.errors import BadInputError
from workbench.studies.fingerprint import next_token_logits, success


def test_logits_are_those_after_the_text_whatever_the_batch(tiny: Any) -> None:
    model, found = tiny.load(), tiny.draw(9)
    rows = next_token_logits(model, found.keys, batch=4)
    ids = tiny.tokenizer(tiny.tokenizer.decode(found.keys[5].tolist()), return_tensors="pt")["input_ids"]
    with torch.no_grad():
        torch.testing.assert_close(rows[5], model(ids).logits[0, -1])
    model.train()
    torch.testing.assert_close(next_token_logits(model, found.keys), rows)
    assert model.training


def test_success_is_a_greedy_hit(tiny: Any) -> None:
    model, found = tiny.load(), tiny.draw(9)
    assert not success(model, found).any()
    object.__setattr__(found, "responses", next_token_logits(model, found.keys).argmax(1).numpy())
    found.responses[2] += 1
    assert success(model, found).tolist() == [n != 2 for n in range(9)]


def test_keys_that_do_not_fit_the_model_are_refused(tiny: Any) -> None:
    with pytest.raises(BadInputError, match="token id 101"):
        next_token_logits(tiny.load(), np.array([[101]]))
    with pytest.raises(BadInputError, match="65 tokens"):
        next_token_logits(tiny.load(), np.zeros((1, 64), np.int64))
