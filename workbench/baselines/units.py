"""What a dense model is made of, to be chosen and removed as experts are: its neurons, or an autoencoder's features."""

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
    """Units of a model, in one place or several, each with an activation at every token.

    Attributes:
        model: the model.
        sizes: units of each place.
    """

    model: LlamaForCausalLM
    sizes: list[int]

    def activations(self, ids: Tensor) -> list[Tensor]:
        """Activations (sequences, tokens, units) of each place, dense."""

    def directions(self) -> list[Tensor | None]:
        """What a unit of activation 1 adds to the residual stream behind the middle layer, (units, hidden) a place.

        None for a place behind it.
        """

    def removing(self, units: Sequence[Ids]) -> Any:
        """A context in which such units of each place write nothing; all else goes on from there as it will."""


class Neurons:
    """The neurons of every MLP; an activation is ``silu(gate) * up``, what the down projection multiplies."""

    def __init__(self, model: LlamaForCausalLM) -> None:
        self.model = model
        self.sizes = [layer.mlp.down_proj.in_features for layer in model.model.layers]

    def activations(self, ids: Tensor) -> list[Tensor]:
        found: list[Tensor] = []
        with ExitStack() as hooks:
            for layer in self.model.model.layers:
                hook = layer.mlp.down_proj.register_forward_pre_hook(lambda _module, args: found.append(args[0]))
                hooks.callback(hook.remove)
            self.model.model(ids, use_cache=False)
        return found

    def directions(self) -> list[Tensor | None]:
        layers, last = self.model.model.layers, middle_layer(self.model)
        return [layer.mlp.down_proj.weight.T if at <= last else None for at, layer in enumerate(layers)]

    @contextmanager
    def removing(self, units: Sequence[Ids]) -> Iterator[None]:
        with ExitStack() as hooks:
            for layer, size, ids in zip(self.model.model.layers, self.sizes, units, strict=True):
                kept = torch.ones(size)
                kept[torch.from_numpy(ids)] = 0.0
                hook = layer.mlp.down_proj.register_forward_pre_hook(lambda _module, args, kept=kept: args[0] * kept)
                hooks.callback(hook.remove)
            yield


class Features:
    """The features of an autoencoder; one that is removed is taken out of the stream, the autoencoder's error stays."""

    def __init__(self, model: LlamaForCausalLM, sae: TopKSae) -> None:
        self.model, self.sae = model, sae
        self.sizes = [len(sae.decoder)]

    def activations(self, ids: Tensor) -> list[Tensor]:
        features, values = self.sae.encode(residual(self.model, ids))
        return [values.new_zeros(*ids.shape, self.sizes[0]).scatter_(-1, features, values)]

    def directions(self) -> list[Tensor | None]:
        return [self.sae.scale * self.sae.decoder]

    @contextmanager
    def removing(self, units: Sequence[Ids]) -> Iterator[None]:
        gone = torch.zeros(self.sizes[0], dtype=torch.bool)
        gone[torch.from_numpy(units[0])] = True

        def take_out(_module: Any, _args: Any, output: Tensor) -> Tensor:
            x = output.flatten(0, 1)
            features, values = self.sae.encode(x)
            return (x - self.sae.write(features, values * gone[features])).view_as(output)

        hook = self.model.model.layers[middle_layer(self.model)].register_forward_hook(take_out)
        try:
            yield
        finally:
            hook.remove()


@torch.inference_mode()
def unit_sums(
    units: Units, windows: Windows, label: NDArray[np.integer], labels: int, advance: Progress = silent
) -> list[LabelSums]:
    """Sums of ``|activation|``, and tokens where it is not 0, of every unit by label; as experts have by their scores.

    Args:
        units: of a model.
        windows: the documents.
        label: (documents,) their label numbers.
        labels: how many labels there are.
        advance: called with the tokens read since its last call.
    """
    mass = [torch.zeros(labels, size, dtype=torch.float64) for size in units.sizes]
    active = [torch.zeros(labels, size, dtype=torch.int64) for size in units.sizes]
    tokens = np.zeros(labels, np.int64)
    for batch in windows.batches:
        number, counted = _numbers(batch, torch.tensor(label))
        tokens += np.bincount(number, minlength=labels)
        for place, values in enumerate(units.activations(batch.ids)):
            here = values[counted].abs()
            mass[place].index_add_(0, number, here.double())
            active[place].index_add_(0, number, (here > 0).long())
        advance(int(batch.real.sum()))
    return [LabelSums(m.numpy(), a.numpy(), tokens) for m, a in zip(mass, active, strict=True)]


def _numbers(batch: Batch, number: Tensor) -> tuple[Tensor, Tensor]:
    """The number of each token's document, at the tokens that count; and which do: not a start of text, no padding."""
    counted = batch.row >= 0
    return number[batch.document][:, None].expand_as(counted)[counted], counted
