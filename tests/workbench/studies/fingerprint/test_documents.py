"""Documents and their loss, against one document after the other without padding."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from workbench.errors import BadInputError
from workbench.studies.fingerprint.documents import Documents, other_split, read_documents


def test_loss_is_that_of_each_document_alone(tiny: Any) -> None:
    rng, model = np.random.default_rng(0), tiny.load()
    sizes = (5, 1, 64, 70, 2, 0, *[9] * 20)  # some too short to predict anything, one beyond the context
    documents = Documents([rng.integers(3, 101, size).astype(np.uint16) for size in sizes], ["a", "b"] * 13)
    sums = {"a": [0.0, 0], "b": [0.0, 0]}
    for ids, label in zip(documents.ids, documents.labels, strict=True):
        row = torch.from_numpy(ids[:64].astype(np.int64))[None]
        if row.shape[1] > 1:
            with torch.no_grad():
                logits = model(row).logits[0, :-1] * 2
            sums[label][0] += float(cross_entropy(logits, row[0, 1:], reduction="sum"))
            sums[label][1] += row.shape[1] - 1
    found = documents.loss(model, lambda logits: logits * 2)
    assert found.by_label == pytest.approx({label: total / count for label, (total, count) in sums.items()}, rel=1e-5)
    assert found.tokens == sum(count for _, count in sums.values())
    assert found.mean == pytest.approx(sum(total for total, _ in sums.values()) / found.tokens, rel=1e-5)


def test_halves_share_no_document_and_have_every_label(tiny: Any) -> None:
    documents = read_documents(tiny.corpus, tiny.tokenizer)
    one, other = documents.halves()
    assert len(one) + len(other) == len(documents) == 18
    assert sorted(one.labels) == sorted(other.labels)
    assert not {ids.tobytes() for ids in one.ids} & {ids.tobytes() for ids in other.ids}
    assert documents.ids[0][0] == 0  # the token that starts a text
    assert len(other_split(tiny.corpus, tiny.tokenizer)) == 0


def test_what_gives_no_loss_is_refused(tiny: Any) -> None:
    with pytest.raises(BadInputError, match="two tokens"):
        Documents([np.array([3])], ["a"]).loss(tiny.load())
