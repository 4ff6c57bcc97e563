"""Is a circuit true? Its nodes changed in the real model, with everything recomputed, beside what the graph predicts.

The graph holds attention patterns, norm scales and routing. The model does not: remove an expert, and later ones are
routed elsewhere, attention moves, norms rescale. ``intervene`` measures both, and how much of what was held has moved.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from monet_model.dense import DenseMLP
from monet_model.record import Record, record_pass

from ...errors import BadInputError
from ...progress import Progress, silent
from .circuit_result import Circuit
from .frozen import rotary_of
from .frozen_experts import FrozenExperts, routing_scores
from .frozen_layer import attention_pattern
from .held import HeldCircuit

if TYPE_CHECKING:
    from monet_model import MonetForCausalLM
    from monet_model.experts import ExpertLayer

SCALED = ("expert", "mlp")  # kinds of nodes that can be
BATCH = 16  # interventions that one forward pass takes
NEXT_TOKENS = 8


@dataclass(frozen=True)
class Reaction:
    """What changing some nodes of a circuit does, with everything recomputed.

    Attributes:
        before, predicted, after: the targets' sum as it was, as the circuit predicts it, and as the model computes it.
        nodes: one row per expert of the circuit, and per MLP of a dense layer:

            - node: its number in the circuit.
            - before: its value.
            - after: what it then writes, along the same paths.
        next_tokens: the likeliest next tokens behind the last target, before or after:

            - token: token id.
            - before, after: probabilities.
        routing_changed: fraction of the active (layer, position, head, key) that are no longer, or newly, active.
        attention_moved: mean total variation between attention patterns before and after, over layers, heads and
            positions.
    """

    before: float
    predicted: float
    after: float
    nodes: pd.DataFrame
    next_tokens: pd.DataFrame
    routing_changed: float
    attention_moved: float


def intervene(
    model: MonetForCausalLM,
    circuit: Circuit,
    groups: Sequence[Sequence[int]],
    *,
    factor: float = 0.0,
    progress: Progress = silent,
) -> pd.DataFrame:
    """Scale nodes of a circuit in the real model, one group after the other, beside what the graph predicts.

    Each expert or MLP is scaled at its own layer and position only, and everything behind it is recomputed: routing,
    attention, norms. The prediction moves the affine model instead; of a single node it is ``(factor - 1) * value``.
    Groups are run many to a forward pass.

    Args:
        model: the model that the circuit was traced in, under the same edits.
        circuit: the circuit, pruned or not.
        groups: numbers of the nodes to scale together: experts, and MLPs of dense layers.
        factor: what their outputs are multiplied with; 0 ablates.
        progress: counts groups.

    Returns:
        One row per group:

        - nodes: how many.
        - predicted: change of the targets' sum that the circuit predicts, in logits.
        - actual: the true change.
        - routing_changed: fraction of the active (layer, position, head, key) that are no longer, or newly, active.
        - attention_moved: mean total variation between attention patterns before and after.

    Raises:
        BadInputError: a node is neither expert nor MLP; the circuit is of a function of the logits; or the model
            computes another logit than the circuit says, as under another edit.

    Examples:
        >>> from monet_model import MonetForCausalLM
        >>> from transformers import AutoTokenizer
        >>> from workbench.analysis import intervene, trace_circuit
        >>> model = MonetForCausalLM.from_pretrained("monet_model/demo")
        >>> tokenizer = AutoTokenizer.from_pretrained("monet_model/demo")
        >>> circuit = trace_circuit(model, tokenizer("public static void", return_tensors="pt").input_ids, nodes=64)
        >>> experts = circuit.nodes.query("kind == 'expert'").nlargest(3, "value")["node"]
        >>> table = intervene(model, circuit, [[node] for node in experts])
        >>> bool((table["actual"] < 0).all())  # without what wrote the token, its logit falls
        True
    """
    held = _Free(model, circuit)
    changes = [held.change(dict.fromkeys(group, factor)) for group in groups]
    rows = []
    for start in range(0, len(changes), BATCH):
        part = changes[start : start + BATCH]
        for number, moved in enumerate(held.run(part)):
            rows.append(
                {
                    "nodes": len(part[number].node),
                    "predicted": held.predict(part[number]),
                    "actual": moved.total - held.total,
                    "routing_changed": held.routing_changed(moved),
                    "attention_moved": held.attention_moved(moved),
                }
            )
            progress(1)
    return pd.DataFrame(rows, columns=["nodes", "predicted", "actual", "routing_changed", "attention_moved"])


def react(model: MonetForCausalLM, circuit: Circuit, factors: Mapping[int, float]) -> Reaction:
    """Scale nodes of a circuit in the real model, all at once, and see how targets, tokens and other nodes react.

    Args:
        model: the model that the circuit was traced in, under the same edits.
        circuit: the circuit, pruned or not.
        factors: number of an expert's or MLP's node -> what its output is multiplied with; 0 ablates.

    Raises:
        BadInputError: as ``intervene``.

    Examples:
        >>> from monet_model import MonetForCausalLM
        >>> from transformers import AutoTokenizer
        >>> from workbench.analysis import react, trace_circuit
        >>> model = MonetForCausalLM.from_pretrained("monet_model/demo")
        >>> tokenizer = AutoTokenizer.from_pretrained("monet_model/demo")
        >>> circuit = trace_circuit(model, tokenizer("public static void", return_tensors="pt").input_ids, nodes=64)
        >>> best = circuit.nodes.query("kind == 'expert'").nlargest(1, "value")["node"].iloc[0]
        >>> reaction = react(model, circuit, {best: 0.0})
        >>> reaction.after < reaction.before, float(reaction.nodes.set_index("node")["after"][best])
        (True, 0.0)
    """
    held = _Free(model, circuit)
    change = held.change(factors)
    (moved,) = held.run([change])
    return Reaction(
        before=held.total,
        predicted=held.total + held.predict(change),
        after=moved.total,
        nodes=held.nodes_after(change, moved),
        next_tokens=_next_tokens(held.logits, moved.logits),
        routing_changed=held.routing_changed(moved),
        attention_moved=held.attention_moved(moved),
    )


@dataclass(frozen=True)
class _Change:
    """Nodes scaled at their layers and positions, (n,) each: node, layer, position, keys i and j, factor.

    On the processor, where nodes are chosen by layer without a wait for a GPU. Keys mean nothing in a dense layer,
    whose MLP is scaled.
    """

    node: Tensor
    layer: Tensor
    position: Tensor
    i: Tensor
    j: Tensor
    factor: Tensor

    def of_layer(self, layer: int) -> _Change:
        mine = self.layer == layer
        return _Change(*(getattr(self, name)[mine] for name in self.__dataclass_fields__))

    def to(self, device: torch.device) -> _Change:
        """A copy on a device."""
        return _Change(*(getattr(self, name).to(device, non_blocking=True) for name in self.__dataclass_fields__))


@dataclass(frozen=True)
class _Moved:
    """One prompt under a change: its record, the logits (vocabulary,) behind the last target, and the targets' sum."""

    record: Record
    logits: Tensor
    total: float


class _Free(HeldCircuit):
    """A circuit's prompt in its model, held and free."""

    def change(self, factors: Mapping[int, float]) -> _Change:
        table = self.circuit.nodes
        nodes = list(factors)
        scaled = np.flatnonzero(table["kind"].isin(SCALED))
        if wrong := [node for node in nodes if node not in scaled]:
            raise BadInputError(
                f"node {wrong[0]} of the circuit is no expert; experts alone can be scaled, and MLPs of dense layers."
            )
        rows = table.iloc[nodes]
        node, layer, position, expert = (
            torch.tensor(rows[name].to_numpy(np.int64)) for name in ("node", "layer", "position", "expert")
        )
        values = torch.tensor(list(factors.values()), dtype=torch.float64)
        return _Change(node, layer, position, expert // self.circuit.keys, expert % self.circuit.keys, values)

    @torch.no_grad()
    def run(self, changes: Sequence[_Change]) -> list[_Moved]:
        """Run the model once over as many copies of the prompt as there are changes, each under its own."""
        ids = self.ids.expand(len(changes), -1)
        with _scaled(self.model, changes, ids.shape[1]):
            record, _ = record_pass(self.model, lambda: self.model(ids, logits_to_keep=1, use_cache=False))
        found = []
        for row in range(len(changes)):
            total, logits = self.read(record, row)
            found.append(_Moved(record.row(row), logits, total))
        return found

    @torch.no_grad()
    def predict(self, change: _Change) -> float:
        """The change of the targets' sum in the affine model."""
        moved = torch.zeros_like(self.frozen.embedded)
        first = int(change.layer.min()) if len(change.layer) else len(self.frozen.layers)
        for layer in self.frozen.layers[first:]:
            if layer.index > first:
                moved = moved + layer.attention_forward(moved)
            mine = change.of_layer(layer.index).to(moved.device)
            if isinstance(layer, FrozenExperts):
                pairs = (mine.i, mine.j)
                score = layer.scores(mine.position, pairs).sum(-1) * (mine.factor - 1)
                more = layer.moved_outputs(mine.position, pairs, score, moved)
            else:
                more = (layer.written + layer.mlp_forward(moved))[mine.position] * (mine.factor - 1)[:, None]
            if layer.index > first:
                moved = moved + layer.mlp_forward(moved)
            moved = moved.index_add(0, mine.position, more)
        return float((moved * self.direction).sum())

    @torch.no_grad()
    def nodes_after(self, change: _Change, moved: _Moved) -> pd.DataFrame:
        """What every expert and MLP of the circuit writes after a change, along the paths that it had."""
        table = self.circuit.nodes
        factor = torch.ones(len(table), dtype=torch.float64, device=self.model.device)
        scaled = change.to(factor.device)
        factor[scaled.node] = scaled.factor
        tables = []
        for layer, g in zip(self.frozen.layers, self.gradients(), strict=True):
            rows = table[(table["layer"] == layer.index) & table["kind"].isin(SCALED)]
            numbers = (rows[name].to_numpy(np.int64) for name in ("node", "position", "expert"))
            node, position, expert = (torch.tensor(one).to(g.device, non_blocking=True) for one in numbers)
            then = moved.record.layers[layer.index]
            if isinstance(layer, FrozenExperts):
                pairs = (expert // self.circuit.keys, expert % self.circuit.keys)
                score = routing_scores(then.routing, then.factors, position, pairs).sum(-1) * factor[node]
                written = layer.experts.single(then.x[0, position].to(g), pairs) * score[:, None]
            else:
                written = then.output[0, position].to(g)  # scaled already
            after = (written * g[position]).sum(-1).numpy(force=True)
            tables.append(pd.DataFrame({"node": rows["node"], "before": rows["value"], "after": after}))
        return pd.concat(tables, ignore_index=True)

    def routing_changed(self, moved: _Moved) -> float:
        """Fraction of the keys active before or after that are not active both times."""
        counts = []
        for layer in self.frozen.experts.values():
            if layer.router is not None:
                before, after = layer.routing.dense(), moved.record.layers[layer.index].routing.dense()
                for one, other in zip(before, after, strict=True):
                    active, then = one > 0, other > 0
                    counts.append(torch.stack([(active != then).sum(), (active | then).sum()]))
        differ, either = torch.stack(counts).sum(0).tolist()
        return float(differ / either)

    @torch.no_grad()
    def attention_moved(self, moved: _Moved) -> float:
        """Mean total variation between the attention patterns before and after."""
        record, apart = moved.record, []
        rotary, stream = rotary_of(self.model, record.embedded, record.embedded.dtype), record.embedded[0]
        for module, seen, layer in zip(self.model.model.layers, record.layers, self.frozen.layers, strict=True):
            pattern = attention_pattern(module.self_attn, module.input_layernorm(stream), rotary)
            apart.append((pattern.to(layer.pattern) - layer.pattern).abs().sum(-1).mean())
            stream = stream + module.self_attn.o_proj(seen.heads[0]) + seen.output[0]
        return float(sum(total / 2 for total in torch.stack(apart).tolist()) / len(apart))


@contextmanager
def _scaled(model: MonetForCausalLM, changes: Sequence[_Change], tokens: int) -> Iterator[None]:
    """Inside this context, every row of a batch has the nodes of its change scaled, in this thread alone."""
    thread = threading.get_ident()

    def scaling(layer: int) -> Callable[..., Tensor | None]:
        parts = [change.of_layer(layer) for change in changes]
        row = torch.cat([torch.full_like(part.node, number) for number, part in enumerate(parts)])
        columns = (torch.cat([getattr(part, name) for part in parts]) for name in ("position", "i", "j", "factor"))
        row, position, i, j, factor = (one.to(model.device, non_blocking=True) for one in (row, *columns))

        def hook(mlp: ExpertLayer | DenseMLP, args: tuple[Any, ...], output: Tensor) -> Tensor | None:
            if threading.get_ident() != thread or not len(row):
                return None
            x, *chosen = args
            if isinstance(mlp, DenseMLP):
                more = output[row, position] * (factor - 1)[:, None].to(x)
            else:
                routing, factors = chosen
                score = routing_scores(routing, factors, row * tokens + position, (i, j)).sum(-1) * (factor - 1)
                more = mlp.single(x[row, position], (i, j)) * score[:, None].to(x)
            return output.index_put((row, position), more, accumulate=True)

        return hook

    layers = model.model.layers
    handles = [(layer.moe or layer.mlp).register_forward_hook(scaling(index)) for index, layer in enumerate(layers)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _next_tokens(before: Tensor, after: Tensor) -> pd.DataFrame:
    first, second = before.double().softmax(-1), after.double().softmax(-1)
    likely = torch.cat([first.topk(NEXT_TOKENS).indices, second.topk(NEXT_TOKENS).indices]).unique()
    likely = likely[torch.maximum(first[likely], second[likely]).argsort(descending=True)]
    columns = {"token": likely, "before": first[likely], "after": second[likely]}
    return pd.DataFrame({name: values.numpy(force=True) for name, values in columns.items()})
