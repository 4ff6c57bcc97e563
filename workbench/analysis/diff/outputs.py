"""How far the function of every expert changed: the distance of its mean outputs in two models, for the same inputs.

An expert's output depends on its hidden units, and these on the token. Both models' experts get the same inputs here,
those that the base model's expert layer reads, so that what changed below a layer is not counted as a change of its
experts. Each hidden unit has its mean activation over the tokens that use its key in either model, weighted by the mean
of the key's probabilities in the two; an expert's mean output is affine in these means, and so is the difference of
two. This is the approximation of ``OutputDirections``: tokens that use the key together with other keys count as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from monet_model.experts import OutputPart

if TYPE_CHECKING:
    from cuda_ext.routing import Routing
    from monet_model.experts import ExpertLayer


class MeanUnits:
    """Sums of what the hidden units of a layer's keys are in two models, weighted by the use of the keys.

    Args:
        base, tuned: the layer's experts in both models.
    """

    def __init__(self, base: ExpertLayer, tuned: ExpertLayer) -> None:
        self.experts = base, tuned
        self._sums: list[list[Tensor]] = [[], []]  # of each model, per set of units: (keys, units)
        self._weights: list[Tensor] = []  # per key set: (keys,)

    def add(self, x: Tensor, routings: Sequence[Routing]) -> None:
        """Add tokens.

        Args:
            x: (tokens, hidden) what the base model's layer reads there.
            routings: the routing of these tokens in both models.
        """
        used = [sum(sides).sum(1).double() / 2 for sides in zip(*(one.dense() for one in routings), strict=True)]
        if not self._weights:
            self._weights = [torch.zeros_like(side[0]) for side in used]
        for weight, side in zip(self._weights, used, strict=True):
            weight += side.sum(0)
        for sums, experts in zip(self._sums, self.experts, strict=True):
            hidden = experts.hidden(x)
            units = [hidden] if isinstance(hidden, Tensor) else list(hidden)
            added = [torch.einsum("tk,tku->ku", used[at], one.double()) for at, one in enumerate(units)]
            sums[:] = [a + b for a, b in zip(sums, added, strict=True)] if sums else added

    def parts(self) -> tuple[list[OutputPart], list[OutputPart]]:
        """The mean outputs of the base model's experts, and by how much those of the tuned one's differ."""
        base, tuned = (
            experts.output_parts([total / self._weights[at][:, None].clamp(min=1e-30) for at, total in enumerate(sums)])
            for experts, sums in zip(self.experts, self._sums, strict=True)
        )
        return base, [difference(one, other) for one, other in zip(base, tuned, strict=True)]


def difference(base: OutputPart, tuned: OutputPart) -> OutputPart:
    """What every expert writes in a tuned model and not in its base, as a product of keys again.

    ``(b' + V' m') - (b + V m)`` is ``(b' - b) + [V' - V, V] [m', m' - m]``, so no expert's output is formed, and the
    difference of equal ones is exactly 0.
    """
    return OutputPart(
        tuned.base - base.base,
        torch.cat([tuned.read - base.read, base.read], -1),
        torch.cat([tuned.other, tuned.other - base.other], -1),
        base.by_row,
    )


def lengths(parts: Sequence[OutputPart]) -> Tensor:
    """(keys, keys) length of every expert's output, all parts together, by (i, j)."""
    return sum(part.squares() for part in parts).clamp(min=0).sqrt()  # type: ignore[union-attr]
