"""What every decomposition of the experts shares: E * E experts, evaluated through the product of their keys.

An expert layer computes ``y = sum_ij S[i, j] G[i, j] E_ij(x)`` with ``G[i, j] = sum_h g1[h, i] g2[h, j]`` (paper,
section 3) without ever forming G: the hidden units of both key sets are summed over the active pairs
(``cuda_ext.mix``), and the sums go through the output projections once. S, the factors of an edit, costs k * k
pairs per head instead of k; where it differs between tokens, the sums of the tokens under each S are added.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from cuda_ext import mix
from cuda_ext.routing import Routing
from cuda_ext.transforms import transformed

from ..held import rows_times, widened
from ..projection import is_plain, project
from ..token_factors import Factors, TokenFactors
from .output_part import OutputPart

if TYPE_CHECKING:
    from ..config import MonetConfig

Hidden = Tensor | tuple[Tensor, Tensor]
Pairs = tuple[Tensor, Tensor]  # keys i (n,) and j (n,) of n experts
# Inference reads this many tokens at a time: so few that intermediate results stay in a processor's cache, or so many
# that a GPU is busy, and its memory bounded.
CHUNK_TOKENS, GPU_CHUNK_TOKENS = 128, 8192


def activate(projection: nn.Linear, x: Tensor, keys: int) -> Tensor:
    """The squared rectifier of ``projection(x)``, the activation inside every expert: (..., keys, units)."""
    positive = project(projection, x, "relu")
    squared = positive.square() if positive.requires_grad or transformed() else positive.square_()
    return squared.unflatten(-1, (keys, -1))


class ExpertLayer(nn.Module):
    """Base of the decompositions. A new one is a subclass in a file of its own and a line in the registry.

    Subclasses store their input projections and implement ``inputs``, ``hidden``, ``read_out``,
    ``along``, ``output_parts``, ``units``, ``written`` and ``read``; the model, attribution, circuits, output
    directions and the TransformerLens bridge ask for nothing else.
    """

    def __init__(self, config: MonetConfig) -> None:
        super().__init__()
        self.keys = config.moe_experts

    @classmethod
    def check(cls, config: MonetConfig) -> None:
        """Raise ValueError if a configuration has sizes that this decomposition cannot be built with."""

    def inputs(self) -> Sequence[nn.Linear]:
        """The projections that read the layer's input, one per tensor of ``hidden``, in its order."""
        raise NotImplementedError

    def hidden(self, x: Tensor) -> Hidden:
        """Activations of the hidden units for ``x`` (..., hidden), as ``cuda_ext.mix`` takes them.

        (..., keys, units) where the units belong to one key set, a pair of such tensors where they belong to both.
        """
        raise NotImplementedError

    def read_out(self, *sums: Tensor) -> Tensor:
        """Output (..., hidden) from the sums that ``cuda_ext.mix`` returns, tokens in the leading dimensions."""
        raise NotImplementedError

    def along(self, direction: Tensor) -> tuple[Tensor, ...]:
        """What every hidden unit and bias adds along a direction, as ``cuda_ext.contributions`` takes them.

        Args:
            direction: (tokens, hidden); the results have its dtype.

        Returns:
            ``direction . V`` of every hidden unit, (tokens, keys, units) each, then ``direction . b``, (tokens, keys)
            each.
        """
        raise NotImplementedError

    def output_parts(self, means: Sequence[Tensor]) -> list[OutputPart]:
        """The output of every expert at fixed activations of the hidden units, as a product of its keys.

        Args:
            means: (keys, units) float64 activations, one per tensor of ``hidden``.
        """
        raise NotImplementedError

    def units(self, pairs: Pairs) -> list[tuple[nn.Linear, Tensor]]:
        """For each tensor of ``hidden``: the projection behind it, and the key (n,) of each expert that it serves."""
        raise NotImplementedError

    def written(self, activations: Sequence[Tensor], pairs: Pairs) -> Tensor:
        """Output (n, hidden) of single experts at given activations of their own units: (n, units) per ``units``."""
        raise NotImplementedError

    def read(self, direction: Tensor, pairs: Pairs) -> list[Tensor]:
        """What the units of single experts add along a direction (n, hidden): (n, units) per entry of ``units``."""
        raise NotImplementedError

    def single(self, x: Tensor, pairs: Pairs, held_at: Tensor | None = None) -> Tensor:
        """Output ``E_ij(x)``, (n, hidden), of single experts, each for an input of its own, (n, hidden).

        Args:
            x: the inputs.
            pairs: the experts.
            held_at: (n, hidden) inputs at which one factor of each squared rectifier is held; None for ``x`` itself.
        """
        activations = []
        for projection, key in self.units(pairs):
            units = self._own_units(x, projection, key)
            held = units if held_at is None else self._own_units(held_at, projection, key)
            activations.append(held.relu() * units)
        return self.written(activations, pairs)

    def pull_back(self, x: Tensor, direction: Tensor, pairs: Pairs) -> tuple[Tensor, Tensor]:
        """How single experts read their input, where one factor of each squared rectifier is held at its value.

        With ``relu(u)**2 = relu(u) * u`` and the first factor held, ``direction . E_ij`` is affine in the input: a
        vector's product with it, and a constant that the biases make.

        Args:
            x: (n, hidden) inputs at which the factors are held.
            direction: (n, hidden), what each output is multiplied with.
            pairs: the experts.

        Returns:
            The vectors (n, hidden) and the constants (n,); ``vector . x + constant`` is ``direction . E_ij(x)``.
        """
        vectors, constants = torch.zeros_like(x), torch.zeros_like(x[:, 0])
        no_units = []
        for (projection, key), read in zip(self.units(pairs), self.read(direction, pairs), strict=True):
            held = read * self._own_units(x, projection, key).relu()
            vectors += torch.einsum("nu,nud->nd", held, _by_key(projection.weight, self.keys, key))
            if projection.bias is not None:
                constants += (held * _by_key(projection.bias, self.keys, key)).sum(-1)
            no_units.append(torch.zeros_like(held))
        return vectors, constants + (direction * self.written(no_units, pairs)).sum(-1)

    def held(self, x: Tensor, moved: Tensor | None) -> Hidden:
        """Hidden units where one factor of each squared rectifier is held at ``x``, and the other reads ``moved``.

        Args:
            x: (tokens, hidden) inputs at which the factors are held.
            moved: (tokens, hidden), without the biases; None for the biases alone.

        Returns:
            As ``hidden``.
        """
        parts = []
        for projection in self.inputs():
            units = projection(x).relu()
            bias = torch.zeros_like(units[0]) if projection.bias is None else projection.bias
            parts.append(
                (units * (bias if moved is None else moved @ projection.weight.T)).unflatten(-1, (self.keys, -1))
            )
        return parts[0] if len(parts) == 1 else (parts[0], parts[1])

    def _own_units(self, x: Tensor, projection: nn.Linear, key: Tensor) -> Tensor:
        """What the units of one key each read, (n, units), before the rectifier."""
        units = torch.einsum("nud,nd->nu", _by_key(projection.weight, self.keys, key), x)
        return units if projection.bias is None else units + _by_key(projection.bias, self.keys, key)

    def combine(self, hidden: Hidden, routing: Routing, factors: Factors | None = None) -> Tensor:
        """Output (..., hidden) of the layer.

        Args:
            hidden: activations of the hidden units, as ``hidden`` returns them for (..., hidden).
            routing: the routing of these tokens.
            factors: S, (keys, keys), which scales the experts, or that of each token; None for all ones.
        """
        batch = (hidden if isinstance(hidden, Tensor) else hidden[0]).shape[:-2]
        parts = factors.split(routing) if isinstance(factors, TokenFactors) else [(routing, factors)]
        sums = [_mixed(hidden, part, matrix) for part, matrix in parts]
        return self.read_out(*(sum(values[1:], values[0]).unflatten(0, batch) for values in zip(*sums, strict=True)))

    def forward(self, x: Tensor, routing: Routing, factors: Factors | None = None) -> Tensor:
        """Expert-layer output (..., hidden) for ``x`` (..., hidden); the rest as in ``combine``.

        Every projection is called with the leading dimensions of ``x``, so that what hooks on it see is batch first.
        """
        whole = torch.compiler.is_compiling() or torch.is_grad_enabled() or transformed()
        whole = whole or not all(map(is_plain, self.children()))
        if factors is not None:
            factors = factors.to(x.device)
        size = CHUNK_TOKENS if x.device.type == "cpu" else GPU_CHUNK_TOKENS
        if whole or len(routing) <= size:
            return self.combine(self.hidden(x), routing, factors)
        layer, tokens = widened(self), x.flatten(0, -2)  # nothing looks on
        out = torch.empty_like(tokens)
        for start in range(0, len(tokens), size):
            chunk = slice(start, start + size)
            here = factors[chunk] if isinstance(factors, TokenFactors) else factors
            out[chunk] = layer.combine(layer.hidden(tokens[chunk]), routing[chunk], here)
        return out.view(x.shape)


def _by_key(values: Tensor, keys: int, chosen: Tensor) -> Tensor:
    """The rows of a projection that belong to chosen keys: (n, units, ...)."""
    return values.unflatten(0, (keys, -1))[chosen]


def columns_of(projection: nn.Linear, keys: int, chosen: Tensor) -> Tensor:
    """The columns of an output projection that read the units of chosen keys: (n, out, units)."""
    return projection.weight.unflatten(1, (keys, -1)).transpose(0, 1)[chosen]


def _mixed(hidden: Hidden, routing: Routing, factors: Tensor | None) -> tuple[Tensor, ...]:
    """``cuda_ext.mix`` of hidden units with any leading dimensions."""
    if isinstance(hidden, Tensor):
        return mix(hidden.flatten(0, -3), routing, factors)
    return mix((hidden[0].flatten(0, -3), hidden[1].flatten(0, -3)), routing, factors)


def key_table(projection: nn.Linear, keys: int) -> Tensor:
    """The weights of an output projection by key, in float64: (keys, out, units)."""
    return projection.weight.double().unflatten(1, (keys, -1)).transpose(0, 1)


def units_along(side: Tensor, projection: nn.Linear, keys: int) -> Tensor:
    """``side . V`` of every hidden unit behind a projection: (tokens, keys, units) for ``side`` (tokens, out)."""
    return rows_times(side, projection).unflatten(-1, (keys, -1))
