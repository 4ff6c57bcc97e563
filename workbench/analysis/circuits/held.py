"""A circuit's prompt in its model again: what is needed to intervene in it, and to open its edges."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from monet_model.record import Record

from ...errors import BadInputError
from ..attribution.direct import ForwardPass
from ..attribution.target import LinearTarget
from ..checks import check_model
from .circuit_result import Circuit
from .frozen import FrozenModel

if TYPE_CHECKING:
    from monet_model import MonetForCausalLM

SAME_LOGIT = 1e-3  # relative, between the circuit's logit and the model's


class HeldCircuit:
    """The prompt of a circuit in its model, held.

    Attributes:
        model, circuit: the two.
        ids: (1, tokens) the prompt.
        record: the model's own pass.
        total: the targets' sum, as the model computes it.
        logits: (vocabulary,) behind the last target.
        frozen: the model, held at that pass, in float64.
        directions: (targets, hidden) what each target reads of the last residual stream.
        direction: (tokens, hidden) what all of them read together.

    Raises:
        BadInputError: the circuit is of a function of the logits, or the model computes another logit than it says.
    """

    @torch.no_grad()
    def __init__(self, model: MonetForCausalLM, circuit: Circuit) -> None:
        check_model(model)
        if any(target.token is None for target in circuit.targets):
            raise BadInputError(
                "this circuit explains a function of the logits, which it does not hold: only targets that are tokens "
                "can be read again."
            )
        self.model, self.circuit = model, circuit
        self.ids = torch.tensor([circuit.ids], device=model.device)
        seen = ForwardPass.run(model, self.ids)
        self.record = seen.record
        self.total, self.logits = self.read(seen.record, 0)
        expected = sum(target.logit for target in circuit.targets)
        if abs(self.total - expected) > SAME_LOGIT * max(abs(expected), 1):
            raise BadInputError(
                f"the model gives the targets {self.total:.4f} and the circuit says {expected:.4f}: it was traced in "
                "another model or under another edit; trace it again."
            )
        self.frozen = FrozenModel(model, seen.record, torch.float64)
        places = [target.position for target in circuit.targets]
        read = [
            one.direction(model, self.frozen.final[place][None])[0]
            for one, place in zip(self._linear(self.logits), places, strict=True)
        ]
        at = torch.tensor(places, device=model.device)
        self.directions = torch.stack(read)
        self.direction = torch.zeros_like(self.frozen.final).index_add_(0, at, self.directions)

    @torch.no_grad()
    def gradients(self) -> list[Tensor]:
        """The targets' gradient behind each layer, (tokens, hidden) each."""
        g, found = self.direction, []
        for layer in reversed(self.frozen.layers):
            found.append(g)
            g = layer.back(g)
        return found[::-1]

    def _linear(self, logits: Tensor) -> list[LinearTarget]:
        pairs = [(one.token, one.minus) for one in self.circuit.targets]
        return [LinearTarget.at(a if b is None else (a, b), logits) for a, b in pairs if a is not None]

    def read(self, record: Record, row: int) -> tuple[float, Tensor]:
        """The targets' sum and the logits behind the last target, of one row of a recorded pass."""
        places = [target.position for target in self.circuit.targets]
        logits = self.model.lm_head(self.model.model.norm(record.final[row, places]))
        total = sum(float(one.value(at)) for one, at in zip(self._linear(logits[0]), logits, strict=True))
        return total, logits[int(np.argmax(places))]
