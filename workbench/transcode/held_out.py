"""Held-out figures: variance left unexplained, cross-entropy recovered."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ..progress import job
from .cache import half
from .scales import Scales
from .splice import AT_ONCE, Constant, mean_losses, overall, spliced
from .teacher import Teacher


class HeldOut:
    """Held-out text of a teacher, with what its MLPs read there, and the losses that a transcoding is measured by.

    Args:
        teacher: the model.
        layers: whose MLPs are replaced.
        sequences: label -> (sequences, tokens) ids.
        scales: of the teacher.

    Attributes:
        original: loss of the teacher by label, in nats per token.
        zero_ablated, mean_ablated: that with the outputs of the layers' MLPs at zero, or at their mean.
    """

    def __init__(
        self, teacher: Teacher, layers: tuple[int, ...], sequences: Mapping[str, Tensor], scales: Scales
    ) -> None:
        self.teacher, self.layers, self.sequences, self.scales = teacher, layers, sequences, scales
        ids = torch.cat(list(sequences.values()))
        with job("held-out text", len(ids) * 4, "sequences") as advance:
            parts = []
            for some in ids.split(AT_ONCE):
                parts.append(torch.from_numpy(half(teacher.inputs(some, layers), layers)))
                advance(len(some))
            self.inputs = torch.cat(parts).transpose(0, 1)  # (layers, sequences, tokens, hidden), half precision
            self.original = mean_losses(teacher.model, sequences)
            advance(len(ids))
            self.zero_ablated = self.losses([Constant(torch.zeros_like(mean)) for mean in scales.mean])
            advance(len(ids))
            self.mean_ablated = self.losses([Constant(mean) for mean in scales.mean])
            advance(len(ids))

    def sample(self, count: int) -> Tensor:
        """What the MLPs read in the first sequences: (layers, count * tokens, hidden)."""
        return self.inputs[:, :count].float().flatten(1, 2).to(self.teacher.device)

    def losses(self, modules: list[nn.Module]) -> dict[str, float]:
        """Loss by label with modules in place of the MLPs of the layers, in nats per token."""
        with spliced(self.teacher, dict(zip(self.layers, modules, strict=True))):
            return mean_losses(self.teacher.model, self.sequences)

    def recovered(self, losses: Mapping[str, float]) -> dict[str, Any]:
        """What losses by label say of a replacement, as the function ``recovered`` returns it."""
        return recovered(losses, self.original, self.mean_ablated, self.zero_ablated, self.sequences)

    @torch.no_grad()
    def unexplained(self, replace: Callable[[Tensor], Tensor]) -> dict[str, list[float]]:
        """How far a replacement's outputs are from the MLPs', each given what the MLP reads in the teacher itself.

        Args:
            replace: outputs (layers, tokens, hidden) for inputs of that shape.

        Returns:
            - unexplained: fraction of variance unexplained per layer, extreme tokens weighted as ``Scales`` says.
            - unexplained_plain: the same without weights.
        """
        count = len(self.layers)
        sums = torch.zeros(2, count, dtype=torch.float64)
        total = torch.zeros(2, count, dtype=torch.float64)
        plain_mean, tokens = torch.zeros(count, self.teacher.hidden, dtype=torch.float64), 0
        batches = [x.float().flatten(1, 2).to(self.teacher.device) for x in self.inputs.split(AT_ONCE, 1)]
        targets = [self.teacher.outputs(x, self.layers) for x in batches]
        for y in targets:
            plain_mean += y.double().sum(1).cpu()
            tokens += y.shape[1]
        centre = (plain_mean / tokens).to(batches[0].device)[:, None]
        for x, y in zip(batches, targets, strict=True):
            error, weight = (replace(x) - y).square().sum(-1).double(), self.scales.weight(y)
            about = (y - self.scales.mean[:, None]).square().sum(-1)
            sums += torch.stack([(weight * error).sum(1), error.sum(1)]).cpu()
            total += torch.stack([(weight * about).sum(1).double(), (y - centre).square().sum((1, 2))]).cpu()
        weighted, plain = (sums / total).tolist()
        return {"unexplained": weighted, "unexplained_plain": plain}


def recovered(
    losses: Mapping[str, float],
    original: Mapping[str, float],
    mean_ablated: Mapping[str, float],
    zero_ablated: Mapping[str, float],
    sequences: Mapping[str, Tensor],
) -> dict[str, Any]:
    """What losses by label say of a replacement of MLPs.

    Args:
        losses, original, mean_ablated, zero_ablated: with the replacement, of the teacher, and with the MLPs' outputs
            at their mean or at zero, by label, in nats per token.
        sequences: label -> (sequences, tokens) ids that they were measured on.

    Returns:
        - loss, loss_by_label: in nats per token.
        - rise: loss above the teacher's, in nats per token.
        - recovered: ``(mean_ablated - loss) / (mean_ablated - original)``, the share of cross-entropy recovered: 1 for
          the teacher, 0 for the mean output.
        - recovered_from_zero: the same with outputs of zero for 0, as SAEBench (arXiv 2503.09532) scores it.
    """
    loss, teachers, ablated, nothing = (
        overall(one, sequences) for one in (losses, original, mean_ablated, zero_ablated)
    )
    return {
        "loss": loss,
        "rise": loss - teachers,
        "recovered": (ablated - loss) / (ablated - teachers),
        "recovered_from_zero": (nothing - loss) / (nothing - teachers),
        "loss_by_label": dict(losses),
    }
