"""Learning from next-token distributions."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from workbench.transcode.imitate import Lesson
from workbench.transcode.pipeline import bank_shapes, make_banks
from workbench.transcode.predict import divergences, plain_attention, predict
from workbench.transcode.splice import bank_modules, spliced


def test_divergence_and_its_gradient() -> None:
    torch.manual_seed(0)
    head = nn.Linear(4, 9)
    wanted, hidden = torch.randn(2, 600, 4)
    known = hidden.clone().requires_grad_()
    p, q = head(wanted).softmax(-1).detach(), head(known).log_softmax(-1)
    kl = (p * (p.log() - q)).sum(-1).mean()
    kl.backward()
    found, gradient = divergences(head, wanted, hidden)
    assert found == pytest.approx(float(kl), rel=1e-5)
    torch.testing.assert_close(gradient, known.grad)
    assert divergences(head, wanted, wanted.clone())[0] == pytest.approx(0, abs=1e-6)


def test_a_step_gives_banks_the_gradient_of_the_divergence_and_leaves_statistics_alone(lesson: Lesson) -> None:
    banks, _ = make_banks(lesson, bank_shapes(lesson.teacher, lesson.settings))
    phase = predict(lesson, banks)
    phase.module.train()
    before = {name: buffer.clone() for name, buffer in banks[0].named_buffers()}
    losses = phase.step(0)
    assert all(torch.equal(buffer, before[name]) for name, buffer in banks[0].named_buffers())
    gradients = [p.grad.clone() for p in banks[0].parameters()]
    banks[0].zero_grad()
    sequences = lesson.cache.sequences
    ids = sequences.ids(sequences.rows(0, lesson.settings.kl_batch))
    model = lesson.teacher.model
    wanted = model(ids).logits.log_softmax(-1).flatten(0, 1)
    with spliced(lesson.teacher, bank_modules(banks, lesson.layers)):
        own = model(ids).logits.log_softmax(-1).flatten(0, 1)
    kl = nn.functional.kl_div(own, wanted, reduction="batchmean", log_target=True)
    kl.backward()
    assert losses["loss"] == pytest.approx(float(kl), rel=1e-4)
    for gradient, parameter in zip(gradients, banks[0].parameters(), strict=True):
        torch.testing.assert_close(gradient, parameter.grad, rtol=1e-3, atol=1e-6)
    assert all(p.grad is None for p in model.parameters())


def test_attention_is_as_before_outside(lesson: Lesson) -> None:
    model = lesson.teacher.model
    before = model.config._attn_implementation
    ids = lesson.cache.sequences.ids(lesson.cache.sequences.rows(0, 1))
    wanted = model(ids).logits

    def fail() -> None:
        with plain_attention(model):
            assert model.config._attn_implementation == "eager"
            torch.testing.assert_close(model(ids).logits, wanted, rtol=1e-4, atol=1e-4)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert model.config._attn_implementation == before
