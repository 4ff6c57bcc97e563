"""The training against outputs: banks of experts learn what MLPs write, directly or from an assistant."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from cuda_ext import Routing
from monet_model.precision import bfloat16_factors, bfloat16_products

from .bank import Bank, KeyCount, active_parameters, even_use
from .cache import InputCache
from .held_out import HeldOut
from .phases import Phase
from .scales import Scales
from .settings import TranscodeSettings
from .splice import bank_modules
from .teacher import Teacher

STATISTICS_SEQUENCES = 128  # that routers' statistics are computed over after training
THRESHOLD = 3 / 5  # of the largest entry, below which the residual of a token is taken for zero


class Lesson:
    """What all trainings against outputs share: the teacher, its inputs on disk, the size of its outputs.

    Args:
        teacher: the model.
        settings: of the transcoding.
        cache: of what its MLPs read.
        scales: of what they read and write.
        heldout: held-out text.
    """

    def __init__(
        self, teacher: Teacher, settings: TranscodeSettings, cache: InputCache, scales: Scales, heldout: HeldOut
    ) -> None:
        self.teacher, self.settings, self.cache, self.scales, self.heldout = teacher, settings, cache, scales, heldout
        self.layers = settings.layers
        self.places = [tuple(self.layers.index(layer) for layer in group) for group in settings.groups]

    def inputs(self, step: int) -> Tensor:
        """What the MLPs read in a step's sequences: (layers, tokens, hidden)."""
        return self.cache.read(self.cache.sequences.rows(step, self.settings.batch))

    def sample(self) -> Iterator[Tensor]:
        """Inputs that routers' statistics are computed over, (layers, tokens, hidden), a batch at a time."""
        count = min(STATISTICS_SEQUENCES, len(self.cache.sequences.train))
        rows = self.cache.sequences.rows(0, count)
        size = self.settings.batch
        return (self.cache.read(rows[start : start + size]) for start in range(0, count, size))

    def gates(self, x: Tensor) -> list[Tensor]:
        """Per group, the gates of the neurons of all its layers: what privileged routers read, (tokens, neurons)."""
        with bfloat16_factors(self.teacher.device, self.settings.autocast):
            return [self.teacher.gates(x[list(group)], [self.layers[n] for n in group]) for group in self.places]

    def targets(self, x: Tensor) -> Tensor:
        """What the MLPs write for inputs (layers, tokens, hidden), of the same shape."""
        with bfloat16_factors(self.teacher.device, self.settings.autocast):
            return self.teacher.outputs(x, self.layers)

    def autocast(self) -> torch.autocast:
        """Runs matrix products in bfloat16 if the settings say so and the device has them."""
        return bfloat16_products(self.teacher.device, self.settings.autocast)


def make_assistant(lesson: Lesson, config: Any) -> Bank:
    """An untrained assistant: experts of the student's shape, whose routers read the teacher's gates.

    The gates of all layers of a group are read by its router. The student never sees them: its router reads the input
    of the group's first layer.
    """
    neurons = lesson.teacher.model.config.intermediate_size
    sees = [(neurons * len(group), lesson.scales.gates[list(group)].mean()) for group in lesson.places]
    return Bank(config, lesson.places, lesson.scales, sees=sees)


def teach_assistant(lesson: Lesson, assistant: Bank) -> Phase:
    """The phase in which the assistant learns the teacher's outputs."""
    used = KeyCount(assistant)

    def step(number: int) -> dict[str, float]:
        x = lesson.inputs(number)
        with lesson.autocast():
            out, routings = assistant(x, lesson.gates(x))
        unexplained = lesson.scales.unexplained(out, lesson.targets(x))
        return _backward(unexplained.mean(), [routings], [used], lesson.settings.aux)

    def finish() -> None:
        assistant.set_statistics(lesson.gates(x) for x in lesson.sample())

    def figures(_last: bool) -> dict[str, Any]:
        return lesson.heldout.unexplained(lambda x: assistant(x, lesson.gates(x))[0])

    return Phase("assistant", assistant, lesson.settings.imitating(), step, figures, used.revive, finish)


def imitate(lesson: Lesson, banks: Sequence[Bank], assistant: Bank | None) -> Phase:
    """The phase in which the student's banks learn: two where there are residual experts, else one.

    With T the teacher's outputs, A the assistant's, R what is left of T - A above the threshold, S1 and S2 the banks',
    and U the squared error as a share of the variance of T, the loss is

    - U(S1, T) without an assistant,
    - U(S1, A) with one,
    - U(S1 + S2, T) + U(S2, R) with residual experts alone,
    - U(S1, A) + U(S2, R) with both.
    """
    settings, scales = lesson.settings, lesson.scales
    used = [KeyCount(bank) for bank in banks]

    def step(number: int) -> dict[str, float]:
        x = lesson.inputs(number)
        y = lesson.targets(x)
        with lesson.autocast():
            outs, routings = zip(*(bank(x) for bank in banks), strict=True)
        if assistant is None:
            return _backward(scales.unexplained(outs[0], y).mean(), routings, used, settings.aux)
        with torch.no_grad():
            taught = assistant(x, lesson.gates(x))[0]
        weight = scales.stress(y)
        error = outs[0] - taught if settings.assistant else sum(outs) - y
        loss = _share(error, weight, scales)
        if settings.residual_experts:
            loss = loss + _share(outs[1] - residual(y, taught), weight, scales)
        return _backward(loss, routings, used, settings.aux)

    def finish() -> None:
        for bank in banks:
            bank.set_statistics(map(partial(bank_inputs, bank), lesson.sample()))

    def revive(optimizer: Optimizer, seed: int) -> int:
        return sum(use.revive(optimizer, seed + n) for n, use in enumerate(used))

    def figures(last: bool) -> dict[str, Any]:
        return student_figures(lesson, banks, losses=last)

    return Phase("experts", nn.ModuleList(banks), settings.imitating(), step, figures, revive, finish)


def student_figures(lesson: Lesson, banks: Sequence[Bank], losses: bool) -> dict[str, Any]:
    """Held-out figures of banks: variance unexplained, active parameters, and with ``losses`` what splicing costs.

    Returns:
        What ``HeldOut.unexplained`` returns; ``active_parameters``, per layer the mean over tokens of the parameters of
        active keys; with ``losses`` what ``HeldOut.recovered`` returns.
    """
    held = lesson.heldout
    x = held.sample(lesson.settings.batch)
    active = [
        active_parameters(bank, [bank.route(n, seen) for n, seen in enumerate(bank_inputs(bank, x))]) for bank in banks
    ]
    found: dict[str, Any] = held.unexplained(lambda x: together(banks, x))
    found["active_parameters"] = torch.stack(active).sum(0).tolist()
    if losses:
        modules = bank_modules(list(banks), lesson.layers)
        found |= held.recovered(held.losses([modules[layer] for layer in lesson.layers]))
    return found


def together(banks: Sequence[Bank], x: Tensor) -> Tensor:
    """What banks write, added: (layers, tokens, hidden) for inputs of that shape."""
    return torch.stack([bank(x)[0] for bank in banks]).sum(0)


def bank_inputs(bank: Bank, x: Tensor) -> list[Tensor]:
    """What a bank's routers read: per group, the input (tokens, hidden) of its first layer."""
    return [x[group[0]] for group in bank.groups]


def residual(y: Tensor, taught: Tensor) -> Tensor:
    """What an assistant misses, its small entries taken for zero: as ``y``, (layers, tokens, hidden).

    An entry stays if it is at least 3/5 of the token's largest in size, as in the code of MonoTAKD (arXiv 2404.04910).
    Unlike there it keeps its sign, as the banks' outputs add.
    """
    missed = y - taught
    size = missed.abs()
    return missed.where(size >= THRESHOLD * size.amax(-1, keepdim=True), 0.0)


def _share(error: Tensor, weight: Tensor, scales: Scales) -> Tensor:
    return ((weight * error.square().sum(-1)).mean(1) / scales.variance).mean()


def _backward(
    unexplained: Tensor, routings: Sequence[Sequence[Routing]], used: Sequence[KeyCount], aux: float
) -> dict[str, float]:
    """Add the routers' auxiliary losses, run backward, and count the keys in use."""
    uneven = torch.stack([even_use(own) for own in routings]).mean()
    loss = unexplained + aux * uneven
    loss.backward()
    for use, own in zip(used, routings, strict=True):
        use.add(own)
    return {"loss": float(loss.detach()), "unexplained": float(unexplained.detach()), "aux": float(uneven.detach())}
