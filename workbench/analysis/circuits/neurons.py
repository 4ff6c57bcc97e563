"""The MLP of a dense layer in a circuit, opened: which neurons its value is made of."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd
import torch

from .circuit_result import Circuit
from .frozen_dense import FrozenDense
from .heads import row_of
from .held import HeldCircuit

if TYPE_CHECKING:
    from monet_model import MonetForCausalLM


@torch.no_grad()
def open_mlp(model: MonetForCausalLM, circuit: Circuit, node: int) -> pd.DataFrame:
    """Open the MLP of a dense layer at a position into its neurons.

    Args:
        model: the model that the circuit was traced in, under the same edits.
        circuit: the circuit, pruned or not.
        node: number of an MLP's node.

    Returns:
        One row per neuron, the largest absolute value first. The values sum to that of the node, where the layer's
        output projection has no bias, which is no neuron's.

        - neuron: its number in the layer.
        - activation: of the neuron at the position.
        - value: what it adds to the targets along all paths, in logits.

    Raises:
        BadInputError: a node of another kind, or as ``intervene``.

    Examples:
        >>> import torch
        >>> from transformers import LlamaConfig, LlamaForCausalLM
        >>> from monet_model import mixed_from_llama
        >>> from workbench.analysis import open_mlp, trace_circuit
        >>> shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4}
        >>> teacher = LlamaForCausalLM(LlamaConfig(**shape, vocab_size=100)).eval()
        >>> model = mixed_from_llama(teacher, [1, 2], moe_dim=4, moe_heads=2, moe_experts=16, moe_topk=4)
        >>> circuit = trace_circuit(model, torch.tensor([[5, 17, 42]]), 7)
        >>> mlp = circuit.nodes.query("kind == 'mlp'").nlargest(1, "influence").iloc[0]
        >>> neurons = open_mlp(model, circuit, mlp["node"])
        >>> len(neurons), bool(abs(neurons["value"].sum() - mlp["value"]) < 1e-9)
        (64, True)
    """
    row = row_of(circuit, node, ("mlp",))
    held = HeldCircuit(model, circuit)
    index, position = int(row["layer"]), int(row["position"])
    layer = held.frozen.layers[index]
    assert isinstance(layer, FrozenDense)
    activation, value = layer.neurons(position, held.gradients()[index])
    columns = {"activation": activation.numpy(force=True), "value": value.numpy(force=True)}
    table = pd.DataFrame({"neuron": range(len(value)), **columns})
    return table.sort_values("value", key=abs, ascending=False, kind="stable", ignore_index=True)
