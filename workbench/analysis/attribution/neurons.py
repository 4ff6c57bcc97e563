"""What single neurons of a mixed model's dense layers add to a logit: directly, or through the whole model.

A neuron of a gated MLP writes its column of ``W_down``, times its activation ``act(W_gate x) * W_up x``. As of experts,
its direct contribution is that vector's product with the direction that the target reads at the last position, and by
gradient its product with the derivative of the target by the layer's output, at every position.

Source: Elhage et al. 2021 (https://transformer-circuits.pub/2021/framework), for direct logit attribution; Shazeer 2020
(https://arxiv.org/abs/2002.05202), for the gated MLP.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ...errors import NotFoundError, UnsupportedError
from .direct import ForwardPass
from .gradient import layer_gradients
from .target import LinearTarget, Target

if TYPE_CHECKING:
    from monet_model import MonetForCausalLM


def attribute_neurons(
    model: MonetForCausalLM,
    input_ids: Tensor,
    target: Target | None = None,
    layers: Iterable[int] | None = None,
    *,
    gradient: bool = False,
) -> pd.DataFrame:
    """Return what the neurons of dense layers add to a target at the last position of a prompt.

    The contributions of a layer's neurons sum to its ``L{layer}mlp`` in ``attribute``, where its output projection has
    no bias, which is no neuron's.

    Args:
        model: a mixed model in evaluation mode.
        input_ids: (1, tokens) integer token ids, at most the model's context.
        target: as of ``attribute``. Default: the token of highest logit.
        layers: the dense layers wanted. Default: all.
        gradient: derivatives of the target by each neuron's factor through everything that follows, at every position,
            as ``attribute_gradient`` gives them of experts. A function of the logits is then differentiated as it is.

    Returns:
        One row per neuron of a layer at a position, sorted by these:

        - layer: the layer.
        - position: token position in the prompt; the last one alone unless by gradient.
        - neuron: its number in the layer.
        - contribution: what it adds to the target.

    Raises:
        BadInputError: as ``attribute``.
        NotFoundError: the model has no such layer.
        UnsupportedError: a layer has experts in place of an MLP, or every layer has.

    Examples:
        >>> import torch
        >>> from transformers import LlamaConfig, LlamaForCausalLM
        >>> from monet_model import mixed_from_llama
        >>> from workbench.analysis import attribute, attribute_neurons
        >>> shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4}
        >>> teacher = LlamaForCausalLM(LlamaConfig(**shape, vocab_size=100)).eval()
        >>> model = mixed_from_llama(teacher, [1, 2], moe_dim=4, moe_heads=2, moe_experts=16, moe_topk=4)
        >>> ids = torch.tensor([[5, 17, 42]])
        >>> neurons = attribute_neurons(model, ids, 7)
        >>> neurons.columns.tolist(), len(neurons)  # 64 neurons in each of the layers 0 and 3
        (['layer', 'position', 'neuron', 'contribution'], 128)
        >>> parts = attribute(model, ids, 7).rest.set_index("component")["contribution"]
        >>> bool(abs(neurons.query("layer == 3")["contribution"].sum() - parts["L3mlp"]) < 1e-5)
        True
    """
    chosen = _dense_layers(model, layers)
    if gradient:
        asked = int(ForwardPass.run(model, input_ids).logits.argmax()) if target is None else target
        record, gradients = layer_gradients(model, input_ids, asked, chosen)
        directions, first = [values[0].double() for values in gradients], 0
    else:
        seen, first = ForwardPass.run(model, input_ids), input_ids.shape[1] - 1
        linear = LinearTarget.at(int(seen.logits.argmax()) if target is None else target, seen.logits)
        record, directions = seen.record, [linear.direction(model, seen.record.final[0, first:])] * len(chosen)
    tables = []
    for layer, direction in zip(chosen, directions, strict=True):
        with torch.no_grad():
            x = record.layers[layer].x[0, first:]
            added = model.model.layers[layer].mlp.contributions(x, direction).numpy(force=True)
        position, neuron = np.indices(added.shape).reshape(2, -1)
        columns = {"position": position + first, "neuron": neuron, "contribution": added.ravel()}
        tables.append(pd.DataFrame({"layer": layer} | columns))
    return pd.concat(tables, ignore_index=True)


def _dense_layers(model: MonetForCausalLM, layers: Iterable[int] | None) -> list[int]:
    """The dense layers asked for, ascending."""
    config = model.config
    if not config.dense_layers:
        raise UnsupportedError("the model has no dense layers, and experts have no neurons of their own.")
    chosen = config.dense_layers if layers is None else sorted(set(layers))
    for layer in chosen:
        if not 0 <= layer < config.num_hidden_layers:
            raise NotFoundError(
                f"there is no layer {layer}; the model has the layers 0 to {config.num_hidden_layers - 1}."
            )
        if layer not in config.dense_layers:
            raise UnsupportedError(
                f"layer {layer} has experts in place of neurons; its dense layers are "
                f"{', '.join(map(str, config.dense_layers))}."
            )
    return list(chosen)
