"""Training: keys are learned, what is frozen stays, and an interrupted one goes on to the same weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from workbench.errors import BadInputError
from workbench.studies.fingerprint import Training, next_token_logits, success, train_fingerprints
from workbench.studies.fingerprint.training import response_loss

HOW = Training(
    lr=1e-2,
    averaging=0.1,
    mixing=0.25,
    mixed_weight=1.0,
    mixed_tokens=8,
    mixed_texts=16,
    epochs=4,
    batch=8,
    stop=0.0,
    routers="free",
)


def weights(model: Any) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def test_an_interrupted_training_goes_on_to_the_same_weights(tiny: Any, tmp_path: Path) -> None:
    found, unbroken = tiny.draw(), tiny.load()
    rows = train_fingerprints(unbroken, found, HOW, tmp_path / "unbroken")

    class Stop(Exception):
        pass

    def stop(units: float = 1, note: str = "") -> None:
        if note and (tmp_path / "broken" / "log.jsonl").read_text().count("\n") == 2:
            raise Stop

    with pytest.raises(Stop):
        train_fingerprints(tiny.load(), found, HOW, tmp_path / "broken", stop)
    resumed = tiny.load()
    assert train_fingerprints(resumed, found, HOW, tmp_path / "broken") == rows
    for name, tensor in weights(unbroken).items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name
    with pytest.raises(BadInputError, match="another configuration"):
        train_fingerprints(tiny.load(), found, replace(HOW, lr=1e-3), tmp_path / "broken")


@pytest.mark.parametrize(("loss", "margin"), [("kl", 1.0), ("text", 1.0), ("kl", 0.0)])
def test_keys_are_learned(tiny: Any, tmp_path: Path, loss: str, margin: float) -> None:
    found, model = tiny.draw(), tiny.load()
    how = replace(HOW, epochs=40, stop=0.3, mixed_loss=loss, margin=margin, averaging=0.0)
    rows = train_fingerprints(model, found, how, tmp_path)
    assert success(model, found).all()
    assert rows[-1]["loss"] < 0.3
    assert all(row["success"] < 1 or row["loss"] >= 0.3 for row in rows[:-1])
    assert len(rows) < 40


def test_the_loss_is_what_is_short_of_the_margin() -> None:
    logits = torch.tensor([[3.0, 1.0, 0.0], [0.0, 0.5, 2.0], [1.0, 1.0, 1.0]], requires_grad=True)
    wanted = torch.tensor([0, 1, 2])
    loss = response_loss(logits, wanted, 1.5)
    assert float(loss.detach()) == pytest.approx((0 + (1.5 + 1.5) + 1.5) / 3)
    (gradient,) = torch.autograd.grad(loss, logits)
    assert (gradient[0] == 0).all()  # a key that has the margin asks no more
    assert gradient[1].tolist() == pytest.approx([0, -1 / 3, 1 / 3])
    assert float(response_loss(logits, wanted, 0.0)) == pytest.approx(
        float(torch.nn.functional.cross_entropy(logits, wanted))
    )


def test_cross_entropy_goes_on_raising_what_a_margin_leaves(tiny: Any, tmp_path: Path) -> None:
    found = tiny.draw()
    surer = []
    for margin in (0.5, 0.0):
        model = tiny.load()
        train_fingerprints(model, found, replace(HOW, epochs=30, averaging=0.0, margin=margin), tmp_path / f"{margin}")
        probability = next_token_logits(model, found.keys).softmax(1).numpy()
        surer.append(probability[range(len(found)), found.responses].mean())
    assert surer[0] < surer[1]


@pytest.mark.parametrize("routers", ["frozen", "free"])
def test_frozen_routers_stay_and_statistics_stay_in_either_case(tiny: Any, tmp_path: Path, routers: str) -> None:
    model = tiny.load()
    before = weights(model)
    train_fingerprints(model, tiny.draw(), replace(HOW, routers=routers, epochs=1), tmp_path)
    for name, tensor in before.items():
        same = torch.equal(tensor, model.state_dict()[name])
        if "running" in name or "tracked" in name:
            assert same, name
        elif ".router." in name:
            assert same == (routers == "frozen"), name
    assert not torch.equal(before["lm_head.weight"], model.lm_head.weight)


def test_averaging_draws_every_weight_towards_the_base(tiny: Any, tmp_path: Path) -> None:
    """After one epoch, the distance from the base is that of a training without averaging, times 1 - averaging."""
    base, plain, averaged = tiny.load(), tiny.load(), tiny.load()
    how = replace(HOW, epochs=1, averaging=0.0)
    train_fingerprints(plain, tiny.draw(), how, tmp_path / "plain")
    train_fingerprints(averaged, tiny.draw(), replace(how, averaging=0.75), tmp_path / "averaged")
    for start, one, other in zip(base.parameters(), plain.parameters(), averaged.parameters(), strict=True):
        torch.testing.assert_close(other - start, 0.25 * (one - start), atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize(
    "changed",
    [
        {"averaging": 1.0},
        {"mixing": -0.1},
        {"lr": 0.0},
        {"margin": -1.0},
        {"routers": "warm"},
        {"mixed_loss": "l2"},
        {"epochs": 0},
    ],
)
def test_settings_that_make_no_sense_are_refused(changed: dict[str, Any]) -> None:
    with pytest.raises(BadInputError, match=next(iter(changed))):
        Training(**changed)


def test_mixed_text_has_its_share_of_the_tokens() -> None:
    assert Training(mixing=0.5, mixed_tokens=34).mixed_rows(128, 17) == 64
    assert Training(mixing=0.0).mixed_rows(128, 17) == 0


def test_the_learning_rate_falls_to_zero_by_epoch() -> None:
    assert [Training(lr=0.4, epochs=4).rate(epoch) for epoch in range(4)] == pytest.approx([0.4, 0.3, 0.2, 0.1])


def test_a_greater_weight_keeps_the_model_nearer_to_the_base_on_mixed_text(tiny: Any, tmp_path: Path) -> None:
    found = tiny.draw()
    far, near = (
        train_fingerprints(tiny.load(), found, replace(HOW, averaging=0.0, mixed_weight=weight), tmp_path / name)
        for name, weight in (("far", 0.1), ("near", 50.0))
    )
    assert near[-1]["mixed_loss"] < far[-1]["mixed_loss"]
