"""Positions of a sequence at which an edit holds, and the factors of experts that follow from them.

Positions count from 0, from the first token that is no padding: the start-of-text token, where there is one. A token
keeps its position when the text before it comes from a cache.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from functools import reduce

import torch
from torch import Tensor

from cuda_ext.transforms import transformed

from .token_factors import Factors, TokenFactors

NO_END = 2**62  # where a span ends that has no end
Positions = Iterable[int | slice] | slice
Spans = tuple[tuple[int, int], ...]  # first position, and the one after the last
Part = tuple[Tensor, Spans | None]  # (E, E) factors, and where they hold; None for everywhere


def read_spans(positions: Positions) -> Spans:
    """Positions as spans.

    Args:
        positions: the positions, from 0, slices of them such as ``slice(7, None)``, which has no end, or one slice.

    Raises:
        ValueError: there is no position, a negative one, or a slice with a step.
    """
    listed = [positions] if isinstance(positions, slice) else list(positions)
    found: list[tuple[int, int]] = []
    for first, end in sorted(map(_span, listed)):
        if found and first <= found[-1][1]:
            found[-1] = found[-1][0], max(end, found[-1][1])
        else:
            found.append((first, end))
    if not found:
        raise ValueError("an edit holds at one position at least; there are none.")
    return tuple(found)


def _span(position: int | slice) -> tuple[int, int]:
    if not isinstance(position, slice):
        position = slice(position, position + 1)
    first, end = position.start or 0, NO_END if position.stop is None else position.stop
    if position.step not in (None, 1) or first < 0 or end <= first:
        raise ValueError(f"{position} is no slice of positions; give one such as slice(7, None), counted from 0.")
    return first, end


class PositionFactors:
    """S of a layer group by position, of edits that may hold at some positions only.

    Args:
        parts: the edits, which multiply where they meet.

    Attributes:
        parts: the edits.
        starts: (n,) int64 first positions of the spans in which S stays the same, ascending.
        which: (n,) int64, the place in ``matrices`` of the S of each span.
        matrices: the (E, E) factors; None stands for all ones.
    """

    def __init__(self, parts: tuple[Part, ...]) -> None:
        self.parts = parts
        bounds = {bound for _, spans in parts for span in spans or () for bound in span if bound < NO_END}
        starts = [-1, *sorted(bounds)]  # the padding before a text has no position
        held = [
            tuple(at for at, (_, spans) in enumerate(parts) if spans is None or within(start, spans))
            for start in starts
        ]
        kinds = list(dict.fromkeys(held))
        self.starts = torch.tensor(starts)
        self.which = torch.tensor([kinds.index(edits) for edits in held])
        self.matrices = tuple(_product([parts[at][0] for at in edits]) for edits in kinds)

    def of(self, positions: Tensor) -> Factors | None:
        """The factors at the positions of tokens, in any shape: one matrix where all have the same, None for ones."""
        starts, places = (one.to(positions.device, non_blocking=True) for one in (self.starts, self.which))
        span = torch.searchsorted(starts, positions.contiguous(), right=True) - 1
        which = places[span.clamp(min=0)].flatten()
        if torch.compiler.is_compiling() or transformed():  # values cannot be asked for
            return TokenFactors(self.matrices, which)
        if len(self.matrices) == 1:
            return self.matrices[0]
        occurs = (which == torch.arange(len(self.matrices), device=which.device)[:, None]).any(1)
        matrices = tuple(matrix for matrix, there in zip(self.matrices, occurs.tolist(), strict=True) if there)
        return matrices[0] if len(matrices) == 1 else TokenFactors(matrices, (occurs.cumsum(0) - 1)[which])


def _product(matrices: list[Tensor]) -> Tensor | None:
    return reduce(lambda a, b: a * b.to(a.device), matrices) if matrices else None


def within(position: int, spans: Spans) -> bool:
    """Whether a position lies in one of some spans, as ``read_spans`` returns them."""
    at = bisect_right(spans, (position, NO_END)) - 1
    return at >= 0 and position < spans[at][1]


def token_positions(shape: torch.Size, attention_mask: Tensor | None, position_ids: Tensor) -> Tensor:
    """The positions that edits speak of, where the caller gave none.

    Args:
        shape: (batch, tokens).
        attention_mask: (batch, earlier tokens + tokens), 0 for padding, or None or of another form.
        position_ids: (1, tokens) places in the sequence, padding included.

    Returns:
        (batch, tokens) int64; those of padding before a text are negative.
    """
    if attention_mask is None or attention_mask.ndim != 2:  # noqa: PLR2004 (batch and tokens)
        return position_ids.expand(shape)
    return (attention_mask.long().cumsum(-1) - 1)[:, -shape[1] :]
