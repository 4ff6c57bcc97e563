"""The MLP of a dense layer: LLaMA's, whose neurons can be asked for one by one."""

from __future__ import annotations

from torch import Tensor
from transformers.models.llama.modeling_llama import LlamaMLP

from .projection import project


class DenseMLP(LlamaMLP):
    """``W_down (act(W_gate x) * W_up x)``, the gated MLP of a LLaMA decoder layer (Shazeer 2020, arXiv 2002.05202).

    A neuron is one row of ``W_gate`` and ``W_up`` and the column of ``W_down`` that it writes with. Its activation is
    the product of the activated gate and of what ``W_up`` reads, so it is affine in the input once the gate is held.
    """

    def gates(self, x: Tensor) -> Tensor:
        """The activated gate of every neuron: (..., neurons) for ``x`` (..., hidden)."""
        activated: Tensor = self.act_fn(project(self.gate_proj, x))
        return activated

    def neurons(self, x: Tensor) -> Tensor:
        """Activation of every neuron: (..., neurons) for ``x`` (..., hidden)."""
        return self.gates(x) * project(self.up_proj, x)

    def forward(self, x: Tensor) -> Tensor:
        """Output (..., hidden) for ``x`` (..., hidden)."""
        return project(self.down_proj, self.neurons(x))

    def contributions(self, x: Tensor, direction: Tensor) -> Tensor:
        """What every neuron writes along a direction: (..., neurons), in the direction's dtype.

        Args:
            x: (..., hidden) input.
            direction: (..., hidden) at each place. What the layer's bias writes along it is not part of any neuron.
        """
        along = direction @ self.down_proj.weight.to(direction.dtype)
        return self.neurons(x).to(direction.dtype) * along

    def pull_back(self, x: Tensor, direction: Tensor) -> tuple[Tensor, Tensor]:
        """How the layer reads its input, where every activated gate is held at its value.

        Args:
            x: (n, hidden) inputs at which the gates are held.
            direction: (n, hidden), what each output is multiplied with.

        Returns:
            Vectors (n, hidden) and constants (n,), which the biases make; ``vector . x + constant`` is
            ``direction . output``.
        """
        held = direction @ self.down_proj.weight * self.gates(x)  # (n, neurons)
        constants = held.new_zeros(len(held))
        if self.up_proj.bias is not None:
            constants = held @ self.up_proj.bias + direction @ self.down_proj.bias
        return held @ self.up_proj.weight, constants

    def moved(self, x: Tensor, moved: Tensor) -> Tensor:
        """What the output (n, hidden) changes by when the input moves by ``moved``, with the gates held at ``x``."""
        return (self.gates(x) * (moved @ self.up_proj.weight.T)) @ self.down_proj.weight.T
