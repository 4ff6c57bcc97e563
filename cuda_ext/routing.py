"""`Routing`: the sparse, exact routing of a batch of tokens in one layer group.

It is the value that travels: the router returns it, and the expert layers, the export, the store, edits and attribution
take it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .reference.pairs import active_pairs

SCORE_BITS = 32  # of a packed (place, score)
PLACE_BITS = 63 - SCORE_BITS


def active_keys(g: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The non-zero entries of (..., keys): keys (..., k) int64, values (..., k) and counts (...) int32.

    Keys ascend; slots past a row's count hold key 0 and value 0.
    """
    active = g != 0
    counts = active.sum(-1, dtype=torch.int32)
    width = int(counts.max()) if counts.numel() else 0
    used = torch.arange(width, device=g.device) < counts[..., None]
    listed = active.flatten().nonzero().squeeze(1) % g.shape[-1]  # in the order in which `used` runs
    keys = torch.zeros(used.shape, dtype=torch.int64, device=g.device).masked_scatter_(used, listed)
    return keys, g.gather(-1, keys).masked_fill(~used, 0), counts


def _bits(num_keys: int) -> int:
    """Bits of a flat expert id."""
    return (num_keys**2 - 1).bit_length()


def _merged(routing: Routing, place: Tensor) -> tuple[Tensor, Tensor]:
    """The scores of equal places summed: ascending places (n,) int64 and scores (n,) float32, above 0.

    Place and score are packed into the bits of one integer, so that a single fast sort brings the heads of a (token,
    expert) together; positive floats are ordered as their bits are.

    Args:
        routing: a routing.
        place: (tokens, heads, k1, k2) numbers below 2**PLACE_BITS that are equal for the same (token, expert).
    """
    scores = routing.probs1.float()[..., :, None] * routing.probs2.float()[..., None, :]
    active = scores > 0
    packed = (place[active] << SCORE_BITS) | scores[active].view(torch.int32).long()
    # NumPy sorts integers several times as fast as PyTorch does on a CPU.
    packed = packed.sort().values if packed.is_cuda else torch.from_numpy(np.sort(packed.numpy()))
    place, score = packed >> SCORE_BITS, packed.to(torch.int32).view(torch.float32)
    fresh = torch.ones_like(place, dtype=torch.bool)
    fresh[1:] = place[1:] != place[:-1]
    if bool(fresh.all()):
        return place, score
    starts = fresh.nonzero().squeeze(1)  # several heads reach the same expert
    if packed.is_cuda:
        lengths = torch.diff(starts, append=starts.new_tensor([len(place)]))
        return place[starts], torch.segment_reduce(score, "sum", lengths=lengths)
    return place[starts], torch.from_numpy(np.add.reduceat(score.numpy(), starts.numpy()))


@dataclass(frozen=True)
class Routing:
    """The active keys of both sets for every token and head, with their probabilities; nothing is cut.

    Expert (i, j) has the routing score ``sum_h p * q`` at a token, over the heads ``h`` whose first list holds (i, p)
    and whose second list holds (j, q) (arXiv 2412.04139, section 3). Its flat id is ``i * num_keys + j``. Entries past
    the counts are padding: key 0, probability 0.

    Attributes:
        indices1, indices2: (tokens, heads, k) int16 key indices, ascending; k may differ between the two sets.
        probs1, probs2: (tokens, heads, k) routing probabilities.
        counts1, counts2: (tokens, heads) int32 numbers of active keys.
        num_keys: E, the number of keys in each set.

    Examples:
        >>> from workbench import open_run
        >>> routing = open_run("runs/demo").routing(slice(0, 3))  # the first three tokens, in layer group 0
        >>> len(routing), routing.heads, routing.num_keys
        (3, 2, 512)
        >>> scores, experts = routing.top_experts(2)
        >>> scores.shape
        torch.Size([3, 2])
    """

    indices1: Tensor
    probs1: Tensor
    counts1: Tensor
    indices2: Tensor
    probs2: Tensor
    counts2: Tensor
    num_keys: int

    @classmethod
    def from_dense(cls, g1: Tensor, g2: Tensor) -> Routing:
        """The sparse form of dense probabilities.

        Args:
            g1, g2: (..., heads, keys); leading dimensions are flattened to tokens.

        Raises:
            ValueError: the shapes differ, or have fewer than three dimensions.

        Examples:
            >>> import torch
            >>> from cuda_ext import Routing
            >>> g = torch.tensor([[[0.5, 0.0, 0.5]]])  # (tokens, heads, keys)
            >>> Routing.from_dense(g, g).indices1.tolist()
            [[[0, 2]]]
        """
        if g1.shape != g2.shape or g1.ndim < 3:
            raise ValueError(f"g1 and g2 must share one shape (..., heads, keys); got {g1.shape} and {g2.shape}.")
        keys1, probs1, counts1 = active_keys(g1.flatten(0, -3))
        keys2, probs2, counts2 = active_keys(g2.flatten(0, -3))
        keys1, keys2 = keys1.to(torch.int16), keys2.to(torch.int16)
        return cls(keys1, probs1, counts1, keys2, probs2, counts2, num_keys=g1.shape[-1])

    def dense(self) -> tuple[Tensor, Tensor]:
        """Dense (g1, g2), each (tokens, heads, keys): the reverse of ``from_dense``.

        Examples:
            >>> from workbench import open_run
            >>> g1, g2 = open_run("runs/demo").routing([0, 1]).dense()
            >>> g1.shape
            torch.Size([2, 2, 512])
        """

        def expand(indices: Tensor, probs: Tensor) -> Tensor:
            return probs.new_zeros(*indices.shape[:2], self.num_keys).scatter_add(-1, indices.long(), probs)

        return expand(self.indices1, self.probs1), expand(self.indices2, self.probs2)

    def map(self, change: Callable[[Tensor], Tensor]) -> Routing:
        """The routing of what ``change`` makes of each tensor: of the same tokens in other memory, or of some tokens.

        Examples:
            >>> from workbench import open_run
            >>> routing = open_run("runs/demo").routing([0, 5])
            >>> len(routing.map(lambda tensor: tensor[1:]))
            1
        """
        tensors: dict[str, Any] = {f.name: change(getattr(self, f.name)) for f in fields(self)[:-1]}
        return Routing(**tensors, num_keys=self.num_keys)

    def __len__(self) -> int:
        return len(self.counts1)

    @property
    def heads(self) -> int:
        """Number of routing heads."""
        return self.counts1.shape[1]

    def __getitem__(self, tokens: slice | Tensor) -> Routing:
        """The routing of the tokens that a slice or an index tensor selects."""
        return self.map(lambda tensor: tensor[tokens])

    def to(self, *args: Any, **kwargs: Any) -> Routing:
        """A copy on another device; takes the arguments of ``torch.Tensor.to`` except a dtype."""
        return self.map(lambda tensor: tensor.to(*args, **kwargs))

    @staticmethod
    def cat(parts: Sequence[Routing]) -> Routing:
        """Concatenate over tokens; narrower parts are padded.

        Raises:
            ValueError: there is no part, or the numbers of keys or heads differ.

        Examples:
            >>> from cuda_ext import Routing
            >>> from workbench import open_run
            >>> run = open_run("runs/demo")
            >>> len(Routing.cat([run.routing([0]), run.routing([5, 6])]))
            3
        """
        if not parts:
            raise ValueError("Routing.cat needs at least one part.")
        if len({(p.num_keys, p.heads) for p in parts}) > 1:
            raise ValueError("Routing.cat needs parts of one shape: the numbers of keys or heads differ.")

        def join(name: str) -> Tensor:
            tensors = [getattr(p, name) for p in parts]
            if tensors[0].ndim == 3:
                width = max(t.shape[-1] for t in tensors)
                tensors = [torch.nn.functional.pad(t, (0, width - t.shape[-1])) for t in tensors]
            return torch.cat(tensors)

        tensors: dict[str, Any] = {f.name: join(f.name) for f in fields(Routing)[:-1]}
        return Routing(**tensors, num_keys=parts[0].num_keys)

    def pairs(self) -> tuple[Tensor, Tensor, Tensor]:
        """Every active (token, expert) once, sorted by token, then expert.

        Size: tokens x heads x active pairs (about k * k), never tokens x E * E.

        Returns:
            Token (n,) int64, flat expert id (n,) int64, and score summed over heads (n,), above 0.

        Examples:
            >>> import torch
            >>> from cuda_ext import Routing
            >>> g1 = torch.tensor([[[0.5, 0.5, 0.0], [0.0, 1.0, 0.0]]])  # (tokens, heads, keys)
            >>> g2 = torch.tensor([[[0.0, 0.0, 1.0], [0.0, 0.5, 0.5]]])
            >>> token, expert, score = Routing.from_dense(g1, g2).pairs()
            >>> expert.tolist(), score.tolist()  # expert (1, 2) is active in both heads
            ([2, 4, 5], [0.5, 0.5, 1.0])
        """
        if self.probs1.dtype != torch.float32:  # too wide to be packed beside its place
            sides = self.indices1, self.probs1, self.counts1, self.indices2, self.probs2, self.counts2
            return active_pairs(*sides, self.num_keys)
        bits = _bits(self.num_keys)
        pieces = []
        for first, piece in self._pieces(PLACE_BITS - bits):
            place, score = _merged(piece, piece._places(token_shift=bits, expert_shift=0))
            pieces.append((first + (place >> bits), place & ((1 << bits) - 1), score))
        token, expert, score = (torch.cat(column) for column in zip(*pieces, strict=True))
        return token, expert, score

    def pairs_by_expert(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """The pairs of ``pairs`` by expert, then token, in float32, a piece of consecutive tokens at a time.

        Yields:
            Flat expert id (n,) int64, token (n,) int64 counted from the first of all, and score (n,) float32.
        """
        bits = PLACE_BITS - _bits(self.num_keys)
        for first, piece in self._pieces(bits):
            place, score = _merged(piece, piece._places(token_shift=0, expert_shift=bits))
            yield place >> bits, first + (place & ((1 << bits) - 1)), score

    def _pieces(self, token_bits: int) -> Iterator[tuple[int, Routing]]:
        """Pieces of so few tokens that their numbers take ``token_bits``, each with the number of its first token."""
        size = 1 << token_bits
        for first in range(0, max(len(self), 1), size):
            yield first, self[first : first + size]

    def _places(self, token_shift: int, expert_shift: int) -> Tensor:
        """Token and flat expert id of all pairs of listed keys as one number: (tokens, heads, k1, k2) int64.

        Everything but the one sum is computed before the pairs are formed, as there are many of them.
        """
        token = torch.arange(len(self), device=self.probs1.device)[:, None, None] << token_shift
        first = (self.indices1.long() * self.num_keys << expert_shift) + token
        return first[..., :, None] + (self.indices2.long() << expert_shift)[..., None, :]

    def scores(self, experts: Tensor) -> Tensor:
        """Routing scores of the given experts at every token.

        Args:
            experts: (n,) flat ids, on the routing's device or on the processor, where checking them waits for no GPU.

        Returns:
            (tokens, n) scores; 0 where an expert is not active.

        Raises:
            IndexError: an id is outside 0 .. E * E - 1.

        Examples:
            >>> import torch
            >>> from workbench import open_run
            >>> routing = open_run("runs/demo").routing(slice(0, 10))
            >>> token, expert, score = routing.pairs()
            >>> torch.allclose(routing.scores(expert[:1])[token[0], 0], score[0])
            True
        """
        if experts.numel() and not (int(experts.min()) >= 0 and int(experts.max()) < self.num_keys**2):
            raise IndexError(f"expert ids must lie in 0 .. {self.num_keys**2 - 1}.")
        experts = experts.to(self.probs1.device, non_blocking=True)
        g1, g2 = self.dense()
        return torch.einsum("the,the->te", g1[..., experts // self.num_keys], g2[..., experts % self.num_keys])

    def top_experts(self, n: int) -> tuple[Tensor, Tensor]:
        """The ``n`` experts with the highest routing score at each token.

        Returns:
            Scores (tokens, n), highest first, and flat ids (tokens, n) int64. Equal scores are ordered by id. Tokens
            with fewer active experts are padded with score 0 and id -1.

        Examples:
            >>> from workbench import open_run
            >>> scores, experts = open_run("runs/demo").routing(slice(0, 4)).top_experts(3)
            >>> bool((scores[:, 0] >= scores[:, 1]).all())
            True
        """
        token, expert, score = self.pairs()
        order = torch.argsort(score, descending=True, stable=True)
        order = order[torch.argsort(token[order], stable=True)]
        token, expert, score = token[order], expert[order], score[order]
        count = torch.bincount(token, minlength=len(self))
        rank = torch.arange(len(token), device=token.device) - (count.cumsum(0) - count)[token]
        kept = rank < n
        scores = torch.zeros(len(self), n, dtype=score.dtype, device=score.device)
        ids = torch.full((len(self), n), -1, dtype=torch.int64, device=score.device)
        scores[token[kept], rank[kept]] = score[kept]
        ids[token[kept], rank[kept]] = expert[kept]
        return scores, ids
