"""A dense layer, held: the activated gates of its MLP stay at their values."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from .frozen_layer import FrozenLayer

if TYPE_CHECKING:
    from monet_model.dense import DenseMLP
    from monet_model.modeling import MonetDecoderLayer


class FrozenDense(FrozenLayer):
    """A dense decoder layer. A neuron is its activated gate, held, times what the other projection reads.

    Attributes:
        mlp: the MLP.
    """

    def __init__(self, module: MonetDecoderLayer, index: int, stream: Tensor, rotary: tuple[Tensor, Tensor]) -> None:
        super().__init__(module, index, stream, rotary)
        assert module.mlp is not None
        self.mlp: DenseMLP = module.mlp
        self.written = self.mlp(self.x)

    def mlp_back(self, g: Tensor) -> tuple[Tensor, Tensor]:
        vectors, constants = self.mlp.pull_back(self.x, g)
        return vectors * self._into_mlp, constants

    def mlp_forward(self, moved: Tensor) -> Tensor:
        return self.mlp.moved(self.x, moved * self._into_mlp)

    def neurons(self, position: int, g: Tensor) -> tuple[Tensor, Tensor]:
        """Activation and value of every neuron at a position, (neurons,) each.

        Args:
            position: the position.
            g: (tokens, hidden) gradient behind the layer.
        """
        x = self.x[position]
        return self.mlp.neurons(x), self.mlp.contributions(x, g[position])
