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
from .teacher import Teacher

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
            wanted, before = _ends_of(teacher, ids, lesson.layers[0])
            with spliced(teacher, modules), starting_at(teacher.model, lesson.layers[0]):
                hidden: Tensor = teacher.model.base_model(inputs_embeds=before, use_cache=False).last_hidden_state
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


@contextmanager
def starting_at(model: PreTrainedModel, layer: int) -> Iterator[None]:
    """Inside this context, a model begins with a layer: as embeddings it takes the stream that this layer reads.

    The layers before the experts compute the same in both models, so they are run once.
    """
    body: Any = model.base_model
    layers = body.layers
    try:
        body.layers = layers[layer:]
        yield
    finally:
        body.layers = layers


@torch.no_grad()
def _ends_of(teacher: Teacher, ids: Tensor, layer: int) -> tuple[Tensor, Tensor]:
    """The teacher's stream behind the final norm, and the one that a layer reads; (sequences, tokens, hidden) both."""
    seen: list[Tensor] = []
    hook = teacher.model.model.layers[layer].register_forward_pre_hook(lambda _module, args: seen.append(args[0]))
    try:
        return last_hidden(teacher.model, ids), seen[0]
    finally:
        hook.remove()


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
        logits = head(own.requires_grad_())
        with torch.no_grad():
            target = head(theirs).log_softmax(-1)
            found = logits.log_softmax(-1)
            share = target.exp()
            total += float((share * target.sub_(found)).sum())
            slope = found.exp_().sub_(share).div_(len(hidden))  # of the mean divergence, by the logits
        gradients += torch.autograd.grad(logits, own, slope)
    return total / len(hidden), torch.cat(gradients)
