"""`Routing`: the sparse, exact routing of a batch of tokens in one layer group. The value everything else works on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor


def active_keys(g: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The entries of (..., keys) that are not 0: keys (..., k) int64, values (..., k) and numbers (...) int32.

    Keys ascend; slots past a row's number hold key 0 and value 0.
    """
    active = g != 0
    counts = active.sum(-1, dtype=torch.int32)
    width = int(counts.max()) if counts.numel() else 0
    used = torch.arange(width, device=g.device) < counts[..., None]
    found = active.flatten().nonzero().squeeze(1) % g.shape[-1]  # in the order in which `used` runs
    keys = torch.zeros(used.shape, dtype=torch.int64, device=g.device).masked_scatter_(used, found)
    return keys, g.gather(-1, keys).masked_fill(~used, 0), counts


@dataclass(frozen=True)
class Routing:
    """Active keys of both sets for every token and head; nothing is cut.

    Expert (i, j) scores ``sum_h p * q`` at a token, over the heads ``h`` whose first list holds (i, p) and whose second
    list holds (j, q); its flat id is ``i * num_keys + j``. Entries past ``counts`` are padding: key 0, probability 0.

    Attributes:
        indices1, indices2: (tokens, heads, k) int16 key indices, ascending; k may differ between the sides.
        probs1, probs2: (tokens, heads, k) routing probabilities.
        counts1, counts2: (tokens, heads) int32 number of active keys.
        num_keys: E, the size of each key set.
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
        """Sparse form of dense probabilities, each (..., heads, keys); leading dimensions are flattened to tokens."""
        if g1.shape != g2.shape or g1.ndim < 3:
            raise ValueError(f"g1 and g2 must share one shape (..., heads, keys); got {g1.shape} and {g2.shape}.")
        keys1, probs1, counts1 = active_keys(g1.flatten(0, -3))
        keys2, probs2, counts2 = active_keys(g2.flatten(0, -3))
        keys1, keys2 = keys1.to(torch.int16), keys2.to(torch.int16)
        return cls(keys1, probs1, counts1, keys2, probs2, counts2, num_keys=g1.shape[-1])

    def dense(self) -> tuple[Tensor, Tensor]:
        """Dense (g1, g2), each (tokens, heads, keys)."""

        def expand(indices: Tensor, probs: Tensor) -> Tensor:
            return probs.new_zeros(*indices.shape[:2], self.num_keys).scatter_add(-1, indices.long(), probs)

        return expand(self.indices1, self.probs1), expand(self.indices2, self.probs2)

    def _map(self, change: Callable[[Tensor], Tensor]) -> Routing:
        tensors: dict[str, Any] = {f.name: change(getattr(self, f.name)) for f in fields(self)[:-1]}
        return Routing(**tensors, num_keys=self.num_keys)

    def __len__(self) -> int:
        return len(self.counts1)

    @property
    def heads(self) -> int:
        """Number of routing heads."""
        return self.counts1.shape[1]

    def __getitem__(self, tokens: slice | Tensor) -> Routing:
        """The routing of some tokens, chosen by a slice or an index tensor."""
        return self._map(lambda tensor: tensor[tokens])

    def to(self, *args: Any, **kwargs: Any) -> Routing:
        """A copy on another device; arguments as in :meth:`torch.Tensor.to`, without a dtype."""
        return self._map(lambda tensor: tensor.to(*args, **kwargs))

    @staticmethod
    def cat(parts: Sequence[Routing]) -> Routing:
        """Concatenation over tokens; narrower parts are padded."""
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
        """Every active (token, expert) once: token (n,), flat expert id (n,), score summed over heads (n,).

        Sorted by token, then expert. Size: tokens x heads x active pairs (about k * k), never tokens x E * E.
        """
        score = self.probs1[..., :, None] * self.probs2[..., None, :]  # (tokens, heads, k1, k2)
        expert = self.indices1.long()[..., :, None] * self.num_keys + self.indices2.long()[..., None, :]
        token = torch.arange(len(self), device=score.device)[:, None, None, None]
        flat = (token * self.num_keys**2 + expert)[score > 0]
        unique, inverse = flat.unique(return_inverse=True)
        total = torch.zeros(len(unique), dtype=score.dtype, device=score.device)
        total = total.index_add(0, inverse, score[score > 0])
        return unique // self.num_keys**2, unique % self.num_keys**2, total

    def scores(self, experts: Tensor) -> Tensor:
        """Scores of chosen experts at every token: (tokens, n) for flat ids (n,).

        Raises:
            IndexError: an id is outside 0 .. E * E - 1.
        """
        if experts.numel() and not (int(experts.min()) >= 0 and int(experts.max()) < self.num_keys**2):
            raise IndexError(f"expert ids must lie in 0 .. {self.num_keys**2 - 1}.")
        g1, g2 = self.dense()
        return torch.einsum("the,the->te", g1[..., experts // self.num_keys], g2[..., experts % self.num_keys])

    def top_experts(self, n: int) -> tuple[Tensor, Tensor]:
        """The ``n`` highest-scoring experts of each token: scores (tokens, n) and flat ids (tokens, n).

        Tokens with fewer active experts are padded with score 0 and id -1; ties fall to the lower id.
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
