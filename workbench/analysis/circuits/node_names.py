"""What people read a circuit's nodes as: their places, tokens, and what is known about their experts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .circuit_result import Circuit, CircuitTarget


@dataclass(frozen=True)
class NodeTexts:
    """Texts that a circuit does not hold itself.

    Attributes:
        labels: (layer, flat expert id) -> the label that the expert is specialised in.
        explanations: (layer, flat expert id) -> a sentence about it.
        tokens: token id -> text, of targets.
    """

    labels: Mapping[tuple[int, int], str] = field(default_factory=dict)
    explanations: Mapping[tuple[int, int], str] = field(default_factory=dict)
    tokens: Mapping[int, str] = field(default_factory=dict)


def token_text(circuit: Circuit, position: int) -> str:
    """The token at a position: its text, or ``#`` and its id where the circuit has no texts."""
    return circuit.pieces[position] if circuit.pieces else f"#{circuit.ids[position]}"


def node_name(circuit: Circuit, node: int) -> str:
    """A short name that no other node of the circuit has."""
    row = circuit.nodes.iloc[node]
    kind, layer, position = row["kind"], row["layer"], row["position"]
    if kind == "embed":
        return f"token {position}"
    if kind == "logit":
        number = int((circuit.nodes["kind"].to_numpy()[:node] == "logit").sum())
        return "target" if len(circuit.targets) == 1 else f"target {number}"
    if kind == "bias":
        return f"biases of layer {layer}"
    if kind == "mlp":
        return f"MLP of layer {layer} at {position}"
    what = f"expert {row['expert']}" if kind == "expert" else "other experts"
    return f"{what} in layer {layer} at {position}"


def node_text(circuit: Circuit, node: int, texts: NodeTexts) -> str:
    """A node in words: what is known about its expert, else its name."""
    row = circuit.nodes.iloc[node]
    place = (int(row["layer"]), int(row["expert"]))
    known = [text for text in (texts.labels.get(place), texts.explanations.get(place)) if text]
    return ": ".join(known) or node_name(circuit, node)


def logit_text(target: CircuitTarget, texts: NodeTexts) -> str:
    """A target in words, with its probability in the form that frontends look for: ``(p=0.123)``."""
    return f'Output "{target_text(target, texts)}" (p={target.probability:.3f})'


def target_text(target: CircuitTarget, texts: NodeTexts) -> str:
    """The token of a target, a difference as ``a - b``; ``#`` and the id of a token without a text."""
    if target.token is None:
        return "function of the logits"
    pair = [target.token] if target.minus is None else [target.token, target.minus]
    return " - ".join(texts.tokens.get(token, f"#{token}") for token in pair)
