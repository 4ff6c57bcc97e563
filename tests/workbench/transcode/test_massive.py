"""Tokens with massive outputs have a unit of their own from the start."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from monet_model import MonetConfig
from workbench.transcode.bank import Bank
from workbench.transcode.imitate import Lesson, bank_inputs
from workbench.transcode.massive import set_apart
from workbench.transcode.scales import Scales

SHAPE = {"hidden_size": 32, "num_attention_heads": 1, "moe_experts": 32, "moe_dim": 4, "moe_heads": 2, "moe_topk": 4}


@pytest.fixture
def bank(lesson: Lesson) -> Bank:
    torch.manual_seed(0)
    return Bank(MonetConfig(**SHAPE), lesson.places, lesson.scales).eval()


@pytest.fixture
def sample(lesson: Lesson) -> tuple[Tensor, Tensor, Tensor]:
    """Inputs; outputs, of which every sixteenth is massive in the second layer; and which are."""
    x = torch.cat(list(lesson.sample()), 1)
    y = lesson.teacher.outputs(x, lesson.layers)
    massive = torch.arange(x.shape[1]) % 16 == 0
    generator = torch.Generator().manual_seed(0)
    x[:, massive] = 3 * torch.randn(2, 1, 32, generator=generator) + 0.1 * x[:, massive]
    y[1, massive] = 3e4 * torch.randn(1, 32, generator=generator) + y[1, massive]
    return x, y, massive


def test_massive_outputs_are_there_from_the_start_and_others_as_before(
    bank: Bank, lesson: Lesson, sample: tuple[Tensor, Tensor, Tensor]
) -> None:
    x, y, massive = sample
    bank.set_statistics([bank_inputs(bank, x)])
    before = bank(x)[0]
    assert set_apart(bank, lesson.scales, bank_inputs(bank, x), x, y) == [int(massive.sum())]
    after = bank(x)[0]
    error = (after - y)[1, massive].norm(dim=-1) / y[1, massive].norm(dim=-1)
    assert float(error.max()) < 0.3
    assert float(error.mean()) < 0.1
    typical = (before - y)[:, ~massive].square().mean()
    assert float((after - y)[:, ~massive].square().mean()) < 1.2 * float(typical)


def test_what_no_reading_tells_apart_is_left_alone(
    bank: Bank, lesson: Lesson, sample: tuple[Tensor, Tensor, Tensor]
) -> None:
    x, y, massive = sample
    x[:, massive] = x[:, massive.roll(1)]  # the same inputs as ordinary tokens
    before = {name: value.clone() for name, value in bank.state_dict().items()}
    assert set_apart(bank, lesson.scales, bank_inputs(bank, x), x, y) == [0]
    assert all(torch.equal(value, before[name]) for name, value in bank.state_dict().items())


def test_a_teacher_without_massive_outputs_starts_as_ever(bank: Bank, lesson: Lesson) -> None:
    x = next(lesson.sample())
    scales = Scales.of(lesson.teacher, lesson.layers, x)
    assert set_apart(bank, scales, bank_inputs(bank, x), x, lesson.teacher.outputs(x, lesson.layers)) == [0]


def test_horizontal_experts_start_as_ever(lesson: Lesson, sample: tuple[Tensor, Tensor, Tensor]) -> None:
    x, y, _ = sample
    bank = Bank(MonetConfig(**SHAPE, moe_decompose="horizontal"), lesson.places, lesson.scales)
    assert set_apart(bank, lesson.scales, bank_inputs(bank, x), x, y) == [0]


def test_the_unit_of_the_massive_layer_is_silent_at_every_other_token(
    bank: Bank, lesson: Lesson, sample: tuple[Tensor, Tensor, Tensor]
) -> None:
    x, y, massive = sample
    x[:, 1] = 0.4 * x[:, 0] + 0.6 * x[:, 1]  # one token that is rather like them
    set_apart(bank, lesson.scales, bank_inputs(bank, x), x, y)
    units = bank.layer(1).hidden(x[1] / bank.x_scale[1])
    for side in units:
        assert bool((side[massive, 0, 0] > 0).all())
        assert not bool(side[~massive, 0, 0].any())
