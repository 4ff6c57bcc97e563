"""What a run knows about the experts of a circuit: their labels, and sentences about them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..analysis.circuits.node_names import NodeTexts
from .explained import best_explanations
from .text import specialised_in

if TYPE_CHECKING:
    from ..analysis.circuits.circuit_result import Circuit
    from ..store import Run


def circuit_texts(run: Run, circuit: Circuit, tokens: dict[int, str]) -> NodeTexts:
    """Labels and explanations of a circuit's experts, one each.

    Args:
        run: a run of the circuit's model.
        circuit: the circuit.
        tokens: token id -> text, of its targets.
    """
    experts = circuit.nodes[circuit.nodes["kind"] == "expert"]
    groups = layer_groups(run, circuit.layers)
    explained = best_explanations(run)
    labels: dict[tuple[int, int], str] = {}
    sentences: dict[tuple[int, int], str] = {}
    for layer, rows in experts.groupby("layer"):
        group = groups[layer]
        known = specialised_in(run, group, set(rows["expert"]))
        labels |= {(layer, expert): label for expert, label in known.items()}
        for expert in rows["expert"]:
            if (group, expert) in explained:
                sentences[layer, expert] = explained[group, expert]
    return NodeTexts(labels, sentences, tokens)


def layer_groups(run: Run, layers: int) -> Sequence[int]:
    """The layer group of each layer of a run's model; -1 for a dense layer."""
    of_layer = {layer: group for group in run.groups for layer in run.layers_of(group)}
    return [of_layer.get(layer, -1) for layer in range(layers)]
