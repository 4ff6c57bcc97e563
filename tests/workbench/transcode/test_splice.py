"""Modules in place of MLPs, and losses."""

from __future__ import annotations

import pytest
import torch

from workbench.transcode import Teacher
from workbench.transcode.imitate import Lesson
from workbench.transcode.pipeline import bank_shapes, make_banks
from workbench.transcode.splice import Constant, bank_modules, mean_losses, overall, spliced

IDS = torch.randint(0, 64, (3, 12), generator=torch.Generator().manual_seed(1))


def test_the_teachers_own_mlps_spliced_in_change_no_logit(teacher: Teacher) -> None:
    before = teacher.model(IDS).logits
    with spliced(teacher, {layer: teacher.mlp(layer) for layer in (0, 2)}):
        assert torch.equal(teacher.model(IDS).logits, before)


def test_mlps_come_back_even_after_an_error(teacher: Teacher) -> None:
    before, own = teacher.model(IDS).logits, teacher.mlp(1)

    def fail() -> None:
        with spliced(teacher, {1: Constant(torch.zeros(32))}):
            assert not torch.equal(teacher.model(IDS).logits, before)
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail()
    assert teacher.mlp(1) is own
    assert torch.equal(teacher.model(IDS).logits, before)


def test_spliced_banks_write_what_banks_write(lesson: Lesson) -> None:
    banks, _ = make_banks(lesson, bank_shapes(lesson.teacher, lesson.settings))
    bank = banks[0].eval()
    x = lesson.inputs(0)
    modules = bank_modules([bank], lesson.layers)
    outputs = [modules[layer](own.view(4, 16, 32)) for layer, own in zip(lesson.layers, x, strict=True)]
    for out, wanted in zip(outputs, bank(x)[0], strict=True):
        assert torch.equal(out.flatten(0, 1), wanted)


def test_losses_are_the_models_own(teacher: Teacher) -> None:
    sequences = {"a": IDS[:2], "b": IDS[2:, :7]}
    losses = mean_losses(teacher.model, sequences)
    for label, ids in sequences.items():
        assert losses[label] == pytest.approx(float(teacher.model(ids, labels=ids).loss), rel=1e-5)
    assert overall(losses, sequences) == pytest.approx((22 * losses["a"] + 6 * losses["b"]) / 28)
