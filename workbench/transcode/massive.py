"""A unit of its own for tokens with massive outputs, which experts would take long to grow.

Some layers write outputs hundreds of times longer than others at a few tokens, much alike, such as the first of a
sequence (Sun et al. 2024, arXiv 2402.17762), and attention relies on them: a model without them is worse off than one
without the MLPs. Where there are such tokens, a bank of vertical experts therefore starts with them routed to key 0 of
both sets, in all heads, and with one unit of these keys that fires at exactly these tokens and writes their mean
output. Other tokens may have the key too, as the router reads an earlier layer's input; the unit is silent there. From
this start everything learns as ever. Layers before the massive one, which prepare it by outputs at the same tokens that
are only long, start with such a unit too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from monet_model.experts import VerticalExperts

from .bank import Bank
from .scales import Scales

EXCESS = 16.0  # outputs longer than so many times the limit's square root are massive
FEWEST = 4  # massive tokens of a sample
OTHERS = 1024  # other tokens that they are told apart from, to begin with
ROUNDS = 4  # of adding the others that are hardest to tell apart
RIDGE = 1e-2  # weight of squared row entries, as a share of the mean squared input
LOGIT = 12.0  # of massive tokens
MOST = 0.02  # share of the other tokens that may be routed to the same key
GAP = 2.0  # by which a unit's reading must tell massive tokens from nearly all others
NEARLY = 0.998  # share of the others
LONG = 0.5  # outputs longer than this times the limit's square root get a unit, where the same tokens are massive later


@dataclass(frozen=True)
class _Reading:
    """A linear reading of tokens, near ``LOGIT`` at massive ones and 0 at others.

    Attributes:
        row: (width,) its weights.
        least: the least of a massive token.
        others: (tokens,) that of the others.
    """

    row: Tensor
    least: float
    others: Tensor

    def bound(self, strict: bool) -> float:
        """From where on a unit fires: nearer to the other tokens, as layers before shift what is read.

        Args:
            strict: whether it may fire at no other token at all, and not only at hardly any.
        """
        most = float(self.others.max() if strict else self.others.double().quantile(NEARLY))
        return most + (self.least - most) / 4


@torch.no_grad()
def set_apart(bank: Bank, scales: Scales, seen: Sequence[Tensor], x: Tensor, y: Tensor) -> list[int]:
    """Give massive tokens key 0 and a unit of it, in each group that has such tokens and can tell them apart.

    Args:
        bank: untrained.
        scales: of the teacher.
        seen: per group, what its router reads at the tokens of a sample, (tokens, width).
        x, y: (layers, tokens, hidden) what the MLPs read and write there.

    Returns:
        Massive tokens of the sample per group; 0 where nothing was done.
    """
    return [_group(bank, scales, number, seen[number], x, y) for number in range(len(bank.groups))]


def _group(bank: Bank, scales: Scales, number: int, seen: Tensor, x: Tensor, y: Tensor) -> int:
    places, router = list(bank.groups[number]), bank.router(number)
    length = y[places].norm(dim=-1) / scales.limit[places, None].sqrt()
    longest = places[int(length.amax(1).argmax())]
    massive = length[places.index(longest)] > EXCESS
    if int(massive.sum()) < FEWEST or not isinstance(bank.layer(longest), VerticalExperts):
        return 0
    routed = _tell_apart(seen / bank.seen_scale[number], massive)
    if routed.least < LOGIT / 2 or float((routed.others > router.sigma).float().mean()) > MOST:
        return 0
    here = [n for n, own in zip(places, length, strict=True) if float(own[massive].mean()) > LONG]
    readings = {place: _tell_apart(x[place] / bank.x_scale[place], massive) for place in here}
    bounds = {place: one.bound(strict=place == longest) for place, one in readings.items()}
    apart = [place for place in here if readings[place].least > bounds[place] + GAP]
    if longest not in apart:
        return 0
    for projection in (router.w1, router.w2):
        projection.weight.unflatten(0, (router.heads, router.keys))[:, 0] = routed.row
    for place in apart:
        layer = bank.layer(place)
        assert isinstance(layer, VerticalExperts)
        _set_unit(layer, readings[place].row, bounds[place], y[place][massive].mean(0) / scales.y[place], router.heads)
    return int(massive.sum())


def _set_unit(layer: VerticalExperts, row: Tensor, bound: float, output: Tensor, heads: int) -> None:
    """Let the first unit of key 0 of both sets write ``output`` at massive tokens and be silent at others."""
    size = float(output.norm()) ** (1 / 3)  # reading and writing weights grow alike, so that a step changes both little
    for projection in layer.inputs():
        projection.weight[0] = row * size / (LOGIT - bound)
        projection.bias[0] = -bound * size / (LOGIT - bound)
    left, right = (output / (heads * size**2)).chunk(2)
    layer.v11.weight[:, 0], layer.v22.weight[:, 0] = left, right
    layer.v12.weight[:, 0], layer.v21.weight[:, 0] = 0.0, 0.0


def _tell_apart(x: Tensor, massive: Tensor) -> _Reading:
    """The reading of tokens (tokens, width), in units of size 1, that tells the massive ones from the others best."""
    own, others = x[massive], x[~massive]
    chosen = torch.zeros(len(others), dtype=torch.bool, device=x.device)
    chosen[:: max(1, len(others) // OTHERS)] = True
    for _ in range(ROUNDS):
        row = _separating(own[:OTHERS].double(), others[chosen].double()).float()
        read = others @ row
        chosen[read.topk(min(OTHERS // 2, len(others))).indices] = True
    return _Reading(row, float((own @ row).min()), read)


def _separating(own: Tensor, others: Tensor) -> Tensor:
    """The ridge regression of ``LOGIT`` at own tokens and 0 at others, both classes weighing the same: (width,)."""
    known = torch.cat([own, others])
    target = known.new_zeros(len(known))
    target[: len(own)] = LOGIT
    gram = known @ known.T
    ridge = torch.full_like(target, RIDGE * float(gram.diagonal().mean()))
    ridge[: len(own)] *= len(own) / len(others)  # a token of the smaller class has less ridge
    return known.T @ torch.linalg.solve(gram + ridge.diag(), target)
