"""What banks and assistants learn from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from workbench.transcode import TranscodeSettings
from workbench.transcode.bank import Bank
from workbench.transcode.imitate import Lesson, imitate, make_assistant, residual, teach_assistant, together
from workbench.transcode.pipeline import bank_shapes, make_banks


def test_small_entries_of_a_residual_are_zero_and_signs_stay() -> None:
    y, taught = torch.tensor([[[5.0, -3.25, 2.75, 0.0], [0.0, 0.0, 0.0, 0.0]]]), torch.zeros(1, 2, 4)
    assert residual(y, taught).tolist() == [[[5.0, -3.25, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]]]
    assert residual(-y, taught)[0, 0, 1] == 3.25


def test_an_assistant_routes_by_the_gates_of_all_layers_of_its_group(lesson: Lesson) -> None:
    banks, _ = make_banks(lesson, bank_shapes(lesson.teacher, lesson.settings))
    assistant = make_assistant(lesson, banks[0].config)
    assert assistant.routers[0].w1.in_features == 2 * 48
    x = lesson.inputs(0)
    changed = x.clone()
    changed[1] *= 2  # the second layer's input: no student's router sees it
    (first,), (second,) = (assistant(one, lesson.gates(one))[1] for one in (x, changed))
    assert not torch.equal(first.dense()[0], second.dense()[0])
    (first,), (second,) = (banks[0](one)[1] for one in (x, changed))
    assert torch.equal(first.dense()[0], second.dense()[0])


@pytest.mark.parametrize("assistant", [False, True])
@pytest.mark.parametrize("residual_experts", [0, 8])
def test_each_switch_has_its_loss(
    lesson: Lesson, settings: Callable[..., TranscodeSettings], assistant: bool, residual_experts: int
) -> None:
    lesson.settings = settings(assistant=assistant, residual_experts=residual_experts, aux=0.0)
    banks, teaching = make_banks(lesson, bank_shapes(lesson.teacher, lesson.settings))
    assert (teaching is not None) == (assistant or residual_experts > 0)
    assert len(banks) == 1 + (residual_experts > 0)
    for bank in [*banks, *([teaching] if teaching else [])]:
        bank.eval()
    x = lesson.inputs(0)
    y = lesson.teacher.outputs(x, lesson.layers)
    scales = replace(lesson.scales)

    def error(out: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return ((scales.stress(y) * (out - target).square().sum(-1)).mean(1) / scales.variance).mean()

    outs = [bank(x)[0] for bank in banks]
    wanted = error(sum(outs[1:], outs[0]), y)
    if teaching is not None:
        taught = teaching(x, lesson.gates(x))[0]
        wanted = error(outs[0], taught) if assistant else wanted
        wanted = wanted + (error(outs[1], residual(y, taught)) if residual_experts else 0)
    losses = imitate(lesson, banks, teaching).step(0)
    assert losses["loss"] == pytest.approx(wanted.item(), rel=1e-5)
    assert all(p.grad is not None for bank in banks for p in bank.experts.parameters())
    assert teaching is None or all(p.grad is None for p in teaching.parameters())


def test_an_assistant_learns(lesson: Lesson) -> None:
    banks, _ = make_banks(lesson, bank_shapes(lesson.teacher, lesson.settings))
    torch.manual_seed(0)
    phase = teach_assistant(lesson, assistant := make_assistant(lesson, banks[0].config))
    optimizer = torch.optim.Adam(assistant.parameters(), lr=1e-2)
    losses = []
    for step in range(30):
        losses.append(phase.step(step)["unexplained"])
        optimizer.step()
        optimizer.zero_grad()
    assert losses[-1] < 0.8 * losses[0]


def test_banks_add(lesson: Lesson, settings: Callable[..., TranscodeSettings]) -> None:
    lesson.settings = settings(residual_experts=8)
    banks, _ = make_banks(lesson, bank_shapes(lesson.teacher, lesson.settings))
    x = lesson.inputs(0)
    assert isinstance(banks[1], Bank)
    for bank in banks:
        bank.eval()
    torch.testing.assert_close(together(banks, x), banks[0](x)[0] + banks[1](x)[0])
