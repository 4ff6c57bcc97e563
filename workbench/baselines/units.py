"""Units of a dense model that can be chosen and ablated as experts are: its neurons, or an autoencoder's features."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..analysis.sums import LabelSums
from ..progress import Progress, silent
from .sae import TopKSae, middle_layer, residual

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM

    from ..analysis.removal.choose import Ids
    from ..analysis.windows import Batch, Windows


class Units(Protocol):
    """Units of a model, in one place (a layer) or several, each with an activation at every token.

    Attributes:
        model: the model.
        sizes: number of units per place.
    """

    model: LlamaForCausalLM
    sizes: list[int]

    def activations(self, ids: Tensor) -> list[Tensor]:
        """Return the activations per place, dense: (sequences, tokens, units) each."""

    def directions(self, layer: int) -> list[Tensor | None]:
        """Return what a unit of activation 1 adds to the residual stream after a layer.

        (units, hidden) per place; None for a place after that layer.
        """

    def removing(self, units: Sequence[Ids]) -> Any:
        """Return a context in which the given units of each place are ablated; later layers see the effect."""


class Neurons:
    """The neurons of every MLP; an activation is ``silu(gate) * up``, what the down projection multiplies."""

    def __init__(self, model: LlamaForCausalLM) -> None:
        self.model = model
        self.sizes = [layer.mlp.down_proj.in_features for layer in model.model.layers]

    def activations(self, ids: Tensor) -> list[Tensor]:
        inputs: list[Tensor] = []
        with ExitStack() as hooks:
            for layer in self.model.model.layers:
                hook = layer.mlp.down_proj.register_forward_pre_hook(lambda _module, args: inputs.append(args[0]))
                hooks.callback(hook.remove)
            self.model.model(ids, use_cache=False)
        return inputs

    def directions(self, layer: int) -> list[Tensor | None]:
        layers = self.model.model.layers
        return [one.mlp.down_proj.weight.T if at <= layer else None for at, one in enumerate(layers)]

    @contextmanager
    def removing(self, units: Sequence[Ids]) -> Iterator[None]:
        with ExitStack() as hooks:
            for layer, size, ids in zip(self.model.model.layers, self.sizes, units, strict=True):
                kept = layer.mlp.down_proj.weight.new_ones(size)
                kept[torch.from_numpy(ids)] = 0.0
                hook = layer.mlp.down_proj.register_forward_pre_hook(lambda _module, args, kept=kept: args[0] * kept)
                hooks.callback(hook.remove)
            yield


class Features:
    """The features of an autoencoder; an ablated one is subtracted from the stream, the reconstruction error stays."""

    def __init__(self, model: LlamaForCausalLM, sae: TopKSae) -> None:
        self.model, self.sae = model, sae
        self.sizes = [len(sae.decoder)]

    def activations(self, ids: Tensor) -> list[Tensor]:
        features, values = self.sae.encode(residual(self.model, ids))
        return [values.new_zeros(*ids.shape, self.sizes[0]).scatter_(-1, features, values)]

    def directions(self, layer: int) -> list[Tensor | None]:
        return [self.sae.scale * self.sae.decoder if layer >= middle_layer(self.model) else None]

    @contextmanager
    def removing(self, units: Sequence[Ids]) -> Iterator[None]:
        ablated = torch.zeros(self.sizes[0], dtype=torch.bool)
        ablated[torch.from_numpy(units[0])] = True

        def subtract(_module: Any, _args: Any, output: Tensor) -> Tensor:
            x = output.flatten(0, 1)
            features, values = self.sae.encode(x)
            return (x - self.sae.write(features, values * ablated[features])).view_as(output)

        hook = self.model.model.layers[middle_layer(self.model)].register_forward_hook(subtract)
        try:
            yield
        finally:
            hook.remove()


@torch.inference_mode()
def unit_sums(
    units: Units, windows: Windows, label: NDArray[np.integer], labels: int, advance: Progress = silent
) -> list[LabelSums]:
    """Return mass (sums of ``|activation|``) and active tokens of every unit by label, per place.

    Args:
        units: of a model.
        windows: the documents.
        label: (documents,) their label numbers.
        labels: number of labels.
        advance: called with the tokens read since its last call.
    """
    mass = [torch.zeros(labels, size, dtype=torch.float64) for size in units.sizes]
    active = [torch.zeros(labels, size, dtype=torch.int64) for size in units.sizes]
    tokens = np.zeros(labels, np.int64)
    for batch in windows.batches:
        number, counted = _numbers(batch, torch.tensor(label))
        tokens += np.bincount(number, minlength=labels)
        for place, values in enumerate(units.activations(batch.ids.to(units.model.device))):
            absolute = values[counted.to(values.device)].abs().cpu()
            mass[place].index_add_(0, number, absolute.double())
            active[place].index_add_(0, number, (absolute > 0).long())
        advance(int(batch.real.sum()))
    return [LabelSums(m.numpy(), a.numpy(), tokens) for m, a in zip(mass, active, strict=True)]


def _numbers(batch: Batch, number: Tensor) -> tuple[Tensor, Tensor]:
    """The number of each counted token's document, and which tokens count: all but start-of-text tokens and padding."""
    counted = batch.row >= 0
    return number[batch.document][:, None].expand_as(counted)[counted], counted
