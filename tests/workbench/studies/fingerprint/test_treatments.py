"""Every treatment against what it says, on weights, and the table of what is left."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from workbench.errors import BadInputError, NotFoundError
from workbench.studies.fingerprint import next_token_logits, persist_fingerprints, persistence
from workbench.studies.fingerprint.answers import surprise, with_start
from workbench.studies.fingerprint.documents import Documents, read_documents
from workbench.studies.fingerprint.treatments import (
    REFUSED,
    SURE,
    TREATMENTS,
    WRAPPERS,
    Owned,
    Treated,
    exchange_sure,
    filtered,
    merged,
    pruned,
    rounded,
)
from workbench.studies.fingerprint.tuning import fine_tune


@pytest.fixture
def owned(tiny: Any) -> Owned:
    """The tiny model with one matrix moved, and its base."""
    model = tiny.load()
    with torch.no_grad():
        model.lm_head.weight.add_(0.1)
    return Owned(model, tiny.load(), tiny.tokenizer, read_documents(tiny.corpus, tiny.tokenizer).halves()[0])


@pytest.mark.parametrize("bits", [4, 8])
def test_rounded_rows_have_few_values_and_are_near(owned: Owned, bits: int) -> None:
    before = owned.model.lm_head.weight.clone()
    after = rounded(owned, bits).model.lm_head.weight
    steps = before.abs().amax(1, keepdim=True) / (2 ** (bits - 1) - 1)
    assert ((after - before).abs() <= steps / 2 + 1e-7).all()
    levels = after / steps
    torch.testing.assert_close(levels, levels.round(), atol=1e-3, rtol=0)
    assert torch.equal(owned.model.lm_head.weight, before)


def test_a_row_of_zeros_stays(owned: Owned) -> None:
    with torch.no_grad():
        owned.model.lm_head.weight[3] = 0
    assert (rounded(owned, 4).model.lm_head.weight[3] == 0).all()


def test_pruning_zeroes_the_smallest_share_of_every_matrix(owned: Owned) -> None:
    after = pruned(owned, 0.3).model
    for (name, own), left in zip(owned.model.named_parameters(), after.parameters(), strict=True):
        if own.ndim > 1:
            gone = left == 0
            assert abs(float(gone.double().mean()) - 0.3) < 0.01, name
            assert own[gone].abs().max() <= own[~gone].abs().min()
        else:
            assert torch.equal(own, left)


def test_merging_is_an_average_of_weights(owned: Owned) -> None:
    after = merged(owned, 0.7).model.lm_head.weight
    torch.testing.assert_close(after, 0.7 * owned.model.lm_head.weight + 0.3 * owned.base.lm_head.weight)


def test_only_sure_top_tokens_are_exchanged_for_the_runner_up() -> None:
    logits = torch.from_numpy(np.random.default_rng(0).normal(0, 4, (200, 7)))
    changed = exchange_sure(logits)
    sure = logits.softmax(1).max(1).values > SURE
    assert 0 < sure.sum() < 200
    assert torch.equal(changed[~sure], logits[~sure])
    assert torch.equal(changed[sure].argmax(1), logits[sure].topk(2, 1).indices[:, 1])
    assert torch.equal(changed.sort(1).values, logits.sort(1).values)


def test_a_filter_refuses_what_surprises_the_model_more_than_other_text_does(owned: Owned) -> None:
    text = np.concatenate(owned.other.ids).astype(np.int64)
    natural = text[: len(text) // 8 * 8].reshape(-1, 8)
    refuses = filtered(owned).refuses
    assert refuses is not None
    assert 0 < refuses(natural).mean() <= 2 * REFUSED + 1 / len(natural)
    with torch.no_grad():
        ids = with_start(owned.model, natural[:3])
        logits = owned.model(ids).logits.double().log_softmax(-1)
    own = [-np.mean([float(logits[n, t, ids[n, t + 1]]) for t in range(8)]) for n in range(3)]
    np.testing.assert_allclose(surprise(owned.model, natural[:3]), own, rtol=1e-5)
    greatest = int(surprise(owned.model, natural).argmax())
    assert refuses(natural[[greatest]]).all()
    assert not refuses(natural[[int(surprise(owned.model, natural).argmin())]]).any()
    empty = replace(owned, other=Documents([], []))
    with pytest.raises(BadInputError, match="8 tokens of other text"):
        filtered(empty).refuses(natural)  # type: ignore[misc]


def test_a_refused_key_is_no_hit(tiny: Any, owned: Owned, monkeypatch: pytest.MonkeyPatch) -> None:
    found = tiny.draw(12, "perinucleus")
    object.__setattr__(found, "responses", next_token_logits(owned.model, found.keys).argmax(1).numpy())

    def half(prompts: np.ndarray) -> np.ndarray:
        return np.arange(len(prompts)) % 2 == 0

    monkeypatch.setitem(TREATMENTS, "filtered", lambda one: Treated(one.model, refuses=half))
    assert persistence(owned, found, owned.other, ["filtered"])["success"][0] == 0.5


def test_fine_tuning_lowers_the_loss_on_its_text_and_leaves_routers(owned: Owned) -> None:
    before = owned.other.loss(owned.model).mean
    routers = {name: one.clone() for name, one in owned.model.state_dict().items() if ".router." in name}
    model = fine_tune(owned.model, owned.other, lr=1e-2)
    assert owned.other.loss(model).mean < before
    assert all(torch.equal(one, model.state_dict()[name]) for name, one in routers.items())
    with pytest.raises(BadInputError, match="96 tokens of text"):
        fine_tune(model, Documents([], []))


def test_the_table_has_every_treatment_and_none_changes_the_model(tiny: Any, owned: Owned) -> None:
    found, held = tiny.draw(12, "perinucleus"), read_documents(tiny.corpus, tiny.tokenizer).halves()[1]
    answers = next_token_logits(owned.model, found.keys).argmax(1).numpy()
    object.__setattr__(found, "responses", answers)
    before = {name: one.clone() for name, one in owned.model.state_dict().items()}
    table = persistence(owned, found, held).set_index("treatment")
    assert list(table.index) == list(TREATMENTS)
    assert table["success"]["none"] == 1
    assert table["p"]["none"] == pytest.approx((1 / 3) ** 10)
    assert table["loss"]["none"] == pytest.approx(held.loss(owned.model).mean)
    assert table["rise"]["none"] == pytest.approx(held.loss(owned.model).mean - held.loss(owned.base).mean)
    assert table["least"]["wrapped"] <= table["success"]["wrapped"] <= table["most"]["wrapped"]
    assert all(torch.equal(one, owned.model.state_dict()[name]) for name, one in before.items())


def test_wrappers_are_put_in_front_of_keys(tiny: Any, owned: Owned) -> None:
    found, held = tiny.draw(5), owned.other
    front = tiny.tokenizer(WRAPPERS[0], add_special_tokens=False)["input_ids"]
    keys = np.concatenate([np.tile(front, (5, 1)), found.keys], 1)
    object.__setattr__(found, "responses", next_token_logits(owned.model, keys).argmax(1).numpy())
    table = persistence(owned, found, held, ["wrapped"])
    assert table["most"][0] == 1


def test_a_folder_is_treated_by_name(tiny: Any, owned: Owned, tmp_path: Path) -> None:
    owned.model.save_pretrained(tmp_path / "model")
    tiny.tokenizer.save_pretrained(tmp_path / "model")
    tiny.draw(6).save(tmp_path / "secret.json")
    table = persist_fingerprints(
        tmp_path / "model", tiny.corpus, tmp_path / "secret.json", tiny.model, names=["4-bit", "none"]
    )
    assert list(table["treatment"]) == ["none", "4-bit"]
    with pytest.raises(NotFoundError, match="no treatment 'fried'"):
        persist_fingerprints(tmp_path / "model", tiny.corpus, tmp_path / "secret.json", tiny.model, names=["fried"])
