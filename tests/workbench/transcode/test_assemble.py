"""The mixed model at the end: it computes what the teacher with spliced banks computes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from workbench.transcode import TranscodeSettings
from workbench.transcode.assemble import assemble, stray_keys
from workbench.transcode.bank import Bank
from workbench.transcode.imitate import Lesson, bank_inputs
from workbench.transcode.pipeline import bank_shapes, make_banks
from workbench.transcode.splice import bank_modules, spliced

IDS = torch.randint(0, 64, (4, 16), generator=torch.Generator().manual_seed(1))


def _trained(lesson: Lesson) -> list[Bank]:
    """Banks that are not as they start: outputs of some size, statistics set."""
    torch.manual_seed(5)
    banks, _ = make_banks(lesson, bank_shapes(lesson.teacher, lesson.settings))
    with torch.no_grad():
        for bank in banks:
            for parameter in bank.parameters():
                parameter.add_(0.2 * torch.randn_like(parameter))
            bank.eval().set_statistics([bank_inputs(bank, x) for x in lesson.sample()])
    return banks


@pytest.mark.parametrize("decompose", ["vertical", "horizontal"])
@pytest.mark.parametrize("changed", [{}, {"residual_experts": 24}, {"group_layers": 1, "residual_experts": 24}])
def test_the_model_computes_what_the_spliced_teacher_computes(
    lesson: Lesson, settings: Callable[..., TranscodeSettings], decompose: str, changed: dict[str, int]
) -> None:
    lesson.settings = settings(decompose=decompose, **changed)
    lesson.places = [tuple(lesson.layers.index(n) for n in group) for group in lesson.settings.groups]
    banks = _trained(lesson)
    x = next(lesson.sample())
    model = assemble(lesson.teacher, lesson.settings, banks, x)
    assert model.config.dense_layers == [0, 3]
    assert [list(group) for group in model.config.routing_groups] == [list(g) for g in lesson.settings.groups]
    plain = lesson.teacher.model(IDS).logits
    with torch.no_grad(), spliced(lesson.teacher, bank_modules(banks, lesson.layers)):
        wanted = lesson.teacher.model(IDS).logits
    with torch.no_grad():
        logits = model(IDS).logits
    assert float((wanted - plain).abs().max()) > 1
    seen = lesson.teacher.inputs(IDS, lesson.layers).transpose(0, 1).flatten(1, 2)
    assert len(banks) == 1 or stray_keys(model, lesson.settings, seen) == 0
    torch.testing.assert_close(logits, wanted, rtol=1e-3, atol=1e-3)


def test_stray_keys_are_counted(lesson: Lesson, settings: Callable[..., TranscodeSettings]) -> None:
    lesson.settings = settings(residual_experts=24)
    banks = _trained(lesson)
    x = next(lesson.sample())
    model = assemble(lesson.teacher, lesson.settings, banks, x)
    router = model.model.layers[1].router
    with torch.no_grad():
        router.w1.weight.unflatten(0, (4, 56))[0, 40] = 10 * router.w1.weight.unflatten(0, (4, 56))[0, 3]
    assert stray_keys(model, lesson.settings, x) > 0
