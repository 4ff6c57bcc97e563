"""The training against the teacher's next-token distribution, through the model with the experts spliced in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Self

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from monet_model.precision import bfloat16_factors

from .bank import Bank
from .imitate import Lesson, student_figures
from .phases import Phase
from .splice import CHUNK, bank_modules, last_hidden, spliced

DISTRIBUTION = "distribution"  # name of the phase


class AtRest(nn.ModuleList):
    """Banks that learn while their routers normalise as in evaluation, so that what is trained is what is measured."""

    def train(self, mode: bool = True) -> Self:
        """Stay in evaluation mode."""
        return super().train(False)


def predict(lesson: Lesson, banks: Sequence[Bank]) -> Phase:
    """The phase in which banks learn from KL(teacher || spliced model), in nats per token."""
    teacher, settings = lesson.teacher, lesson.settings
    modules = bank_modules(list(banks), lesson.layers)
    head = teacher.model.get_output_embeddings()

    def step(number: int) -> dict[str, float]:
        rows = lesson.cache.sequences.rows(number, settings.kl_batch)
        ids = lesson.cache.sequences.ids(rows).to(teacher.device)
        with lesson.autocast(), plain_attention(teacher.model):
            with torch.no_grad():
                wanted = last_hidden(teacher.model, ids)
            with spliced(teacher, modules):
                hidden = last_hidden(teacher.model, ids)
        with bfloat16_factors(teacher.device, settings.autocast):
            divergence, gradient = divergences(
                head, wanted.float().flatten(0, 1), hidden.detach().float().flatten(0, 1)
            )
        hidden.backward(gradient.view_as(hidden).to(hidden.dtype))
        return {"loss": divergence, "kl": divergence}

    def figures(_last: bool) -> dict[str, Any]:
        return student_figures(lesson, banks, losses=True)

    return Phase(DISTRIBUTION, AtRest(banks), settings.predicting(), step, figures)


@contextmanager
def plain_attention(model: PreTrainedModel) -> Iterator[None]:
    """Inside this context, attention on a processor is computed as its formula says.

    The fused one has a backward pass that takes ten times longer there at a few hundred tokens.
    """
    before = model.config._attn_implementation
    if model.device.type == "cpu":
        model.set_attn_implementation("eager")
    try:
        yield
    finally:
        model.set_attn_implementation(before)


def divergences(head: nn.Module, wanted: Tensor, hidden: Tensor) -> tuple[float, Tensor]:
    """Mean KL divergence of next-token distributions, and its gradient, some tokens at a time.

    Args:
        head: from the stream behind the final norm to logits.
        wanted: (tokens, hidden) the teacher's stream.
        hidden: (tokens, hidden) the student's.

    Returns:
        KL(teacher || student) in nats per token, and its gradient by ``hidden``, of its shape.
    """
    total, gradients = 0.0, []
    for theirs, own in zip(wanted.split(CHUNK), hidden.split(CHUNK), strict=True):
        with torch.no_grad():
            target = head(theirs).log_softmax(-1)
        own = own.requires_grad_()
        logits = head(own).log_softmax(-1)
        loss = nn.functional.kl_div(logits, target, reduction="sum", log_target=True) / len(hidden)
        (gradient,) = torch.autograd.grad(loss, own)
        gradients.append(gradient)
        total += float(loss.detach())
    return total, torch.cat(gradients)
