"""Circuits that have been traced: each once, whichever process of the server asks, and changed in the real model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ...analysis.attribution.prompt import read_prompt
from ...analysis.circuits.circuit_result import Circuit
from ...errors import BusyError, NotFoundError
from ...store.address import Expert
from ...store.token_text import visible
from ..edits import edited_experts, model_edit
from .asked import Asked

if TYPE_CHECKING:
    from monet_model import MonetForCausalLM

    from ...analysis.attribution.prompt import PromptReading
    from ...analysis.circuits.intervene import Reaction
    from ..computing import Computation, Report
    from ..context import Context

LIKELIEST = 12  # next tokens to choose a target from


@dataclass(frozen=True, eq=False)
class Traced:
    """A circuit with what the page says about it.

    Attributes:
        circuit: the circuit, not pruned.
        pieces: text of its tokens.
        bos: whether the first is a start-of-text token.
        likeliest: the likeliest next tokens: token, text and probability.
        target, minus: text of the tokens it explains; "" for no difference.
        groups: number of the group of each layer; -1 for a dense layer.
    """

    circuit: Circuit
    pieces: list[str]
    bos: bool
    likeliest: list[tuple[int, str, float]]
    target: str
    minus: str
    groups: list[int]

    @cached_property
    def nodes(self) -> list[Any]:
        """The rows of the circuit's nodes."""
        return list(self.circuit.nodes.itertuples(index=False))

    @cached_property
    def names(self) -> list[str]:
        """The name of every node in addresses.

        They are ``embed.3``, ``bias.0``, ``rest.1.3``, ``mlp.2.3``, ``1.3.4711`` of an expert, and ``logit``.
        """
        return [
            {
                "embed": f"embed.{row.position}",
                "bias": f"bias.{row.layer}",
                "rest": f"rest.{row.layer}.{row.position}",
                "mlp": f"mlp.{row.layer}.{row.position}",
                "expert": f"{row.layer}.{row.position}.{row.expert}",
                "logit": "logit",
            }[row.kind]
            for row in self.nodes
        ]

    @cached_property
    def numbers(self) -> dict[str, int]:
        """Name of a node -> its number."""
        return {name: number for number, name in enumerate(self.names)}

    @cached_property
    def completeness(self) -> float:
        """That of the circuit: rounding alone."""
        return self.circuit.completeness

    def number(self, name: str) -> int:
        """The number of a node.

        Raises:
            NotFoundError: the circuit does not hold it.
        """
        if name not in self.numbers:
            raise NotFoundError(f"the circuit has no node {name[:60]!r}; with more nodes it may.")
        return self.numbers[name]

    def expert(self, node: int) -> Expert | None:
        """The expert of a node; None of another kind."""
        row = self.nodes[node]
        return Expert(self.groups[row.layer], int(row.expert)) if row.kind == "expert" else None

    def token(self, position: int) -> str:
        """The token at a position, as the page numbers and shows it."""
        if position < int(self.bos):
            return "start of text"
        return f"token {position + 1 - int(self.bos)} {visible(self.pieces[position])}"

    def title(self, node: int) -> str:
        """What a node is called in running text."""
        row = self.nodes[node]
        if row.kind == "bias":
            return f"biases of layer {row.layer}"
        if row.kind == "logit":
            return f"logit of {visible(self.target)}" + (f" minus {visible(self.minus)}" if self.minus else "")
        what = {
            "embed": "embedding",
            "rest": f"other experts of layer {row.layer}",
            "mlp": f"MLP of layer {row.layer}",
        }.get(row.kind)
        return f"{what or f'expert {self.expert(node)}, layer {row.layer}'}, {self.token(row.position)}"


def start(ctx: Context, asked: Asked) -> Computation:
    """Trace a circuit, unless it is being traced or has been."""
    return ctx.computations.start(asked.name, lambda report: trace(ctx, asked, report))


def state(ctx: Context, asked: Asked) -> Computation:
    """How tracing a circuit stands; one that was never asked for is started, one that failed is not."""
    return ctx.computations.get(asked.name) or start(ctx, asked)


def find(ctx: Context, asked: Asked) -> Traced:
    """A circuit that the page has had traced.

    Raises:
        BusyError: it is still being traced.
        WorkbenchError: tracing failed.
    """
    found = state(ctx, asked)
    if found.error is not None:
        raise found.error
    if found.running:
        raise BusyError("this circuit is still being traced; try again in a few seconds.")
    traced: Traced = found.result
    return traced


def trace(ctx: Context, asked: Asked, report: Report) -> Traced:
    """Run the model and trace the circuit, under the edit of the address."""
    from ...analysis.circuits.trace import trace_circuit  # brings torch, which pages open without

    with _edited(ctx, asked) as (model, reading):
        tokens = reading.next_tokens(LIKELIEST)
        target = int(tokens["token"].iloc[0]) if asked.target is None else asked.target
        config = model.config
        units = report.expect(2 * asked.nodes + config.num_hidden_layers * len(asked.prompt.ids) + 1)
        circuit = trace_circuit(
            model,
            reading.forward.ids,
            target if asked.minus is None else (target, asked.minus),
            nodes=asked.nodes,
            progress=units,
        )
    prompt, text = asked.prompt, asked.whole.token_text
    minus = "" if asked.minus is None else text(asked.minus)
    likeliest = [(int(row.token), text(row.token), float(row.probability)) for row in tokens.itertuples(index=False)]
    return Traced(circuit, prompt.pieces, prompt.bos, likeliest, text(target), minus, config.layer_groups)


def reaction(ctx: Context, asked: Asked, factors: Mapping[str, float]) -> Reaction:
    """What scaling some experts and MLPs of a circuit does in the real model, under the edit of the address.

    Args:
        ctx: the run.
        asked: the circuit.
        factors: name of a node -> what its output is multiplied with.

    Raises:
        NotFoundError: the circuit has no such node.
        BadInputError: a node that is neither expert nor MLP.
    """
    from ...analysis.circuits.intervene import react

    traced = find(ctx, asked)
    numbers = {traced.number(name): factor for name, factor in factors.items()}
    with _edited(ctx, asked) as (model, _):
        return react(model, traced.circuit, numbers)


def heads(ctx: Context, asked: Asked, source: str, target: str, kind: str) -> pd.DataFrame:
    """An edge, opened into the attention heads that it goes through first: see ``open_edge``.

    Raises:
        NotFoundError: the circuit has no such node.
        BadInputError: an edge of a kind that cannot be opened.
    """
    from ...analysis.circuits.heads import open_edge

    traced = find(ctx, asked)
    ends = traced.number(source), traced.number(target)
    with _edited(ctx, asked) as (model, _):
        return open_edge(model, traced.circuit, *ends, kind=kind)


def neurons(ctx: Context, asked: Asked, node: str) -> pd.DataFrame:
    """The MLP of a dense layer, opened into its neurons: see ``open_mlp``.

    Raises:
        NotFoundError: the circuit has no such node.
        BadInputError: a node of another kind.
    """
    from ...analysis.circuits.neurons import open_mlp

    traced = find(ctx, asked)
    number = traced.number(node)
    with _edited(ctx, asked) as (model, _):
        return open_mlp(model, traced.circuit, number)


@contextmanager
def _edited(ctx: Context, asked: Asked) -> Iterator[tuple[MonetForCausalLM, PromptReading]]:
    """The model under the edit, with its reading of the prompt."""
    model = ctx.model()
    before = read_prompt(model, asked.whole) if asked.edit.reads_prompt else None
    experts = edited_experts(asked.edit, ctx, before)
    with model.edit_experts(model_edit(asked.edit, experts, model, asked.whole)):
        yield model, read_prompt(model, asked.prompt)


def shares(circuit: Circuit) -> np.ndarray:
    """How much influence flows along every edge: its part of what its target takes in, value and routing apart."""
    edges = circuit.edges
    size = edges["weight"].abs().to_numpy()
    into = 2 * edges["target"].to_numpy(np.int64) + (edges["kind"] == "routing").to_numpy()
    total = np.bincount(into, size)
    return np.asarray(size / total[into] * circuit.nodes["influence"].to_numpy()[edges["target"]])
