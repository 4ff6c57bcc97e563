"""What makes the logit of every fingerprint's response after its key, in one model: experts, and everything else.

Directly, an expert adds what it writes along the direction that the response's logit reads at the key's last token, as
in ``workbench.analysis.attribute``; with attention, embedding and biases that sums to the logit. By gradient it is the
derivative of the logit by the expert's factor, at every token of the key, as in ``attribute_gradient``. Keys are read
many at a time, and only active experts are ever held.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from monet_model.record import Record, record_pass

from ...analysis.attribution.contributions import expert_contributions
from ...analysis.attribution.direct import expert_parts, rest_parts
from ...analysis.attribution.target import logit_direction
from ...analysis.checks import check_model
from ...errors import BadInputError
from ...progress import Progress, silent
from .answers import with_start
from .locate_result import DIRECT, GRADIENT, METHODS

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from monet_model import MonetForCausalLM

Ids = NDArray[np.int64]
Floats = NDArray[np.float64]
BATCH, GRADIENT_BATCH = 128, 16  # keys read at once; by gradient every token of a key has rows of its own


@dataclass(frozen=True)
class KeyParts:
    """The parts of the logits of responses.

    A *unit* is an expert, numbered over all groups: ``group * E * E + id``; or a neuron, numbered over all layers.

    Attributes:
        key, unit, value: (rows,) one row per key and unit that is active there, sorted by these: what the unit adds.
        logit: (keys,) of the response.
        hit: (keys,) whether the response is the most likely next token.
        names: of the components other than units, as in ``Attribution.rest``; none by gradient.
        rest: (keys, components) what they add.
    """

    key: Ids
    unit: Ids
    value: Floats
    logit: Floats
    hit: NDArray[np.bool_]
    names: list[str]
    rest: Floats

    @property
    def completeness(self) -> float:
        """The largest difference of a logit and the sum of its parts; NaN by gradient."""
        if not self.names:
            return float("nan")
        total = np.bincount(self.key, self.value, len(self.logit)) + self.rest.sum(1)
        return float(np.abs(total - self.logit).max())


Reader = Callable[[Tensor, Tensor], KeyParts]  # of ids (keys, tokens) and responses (keys,)


def key_parts(
    model: MonetForCausalLM, keys: Ids, responses: Ids, method: str = DIRECT, advance: Progress = silent
) -> KeyParts:
    """Take apart the logit of each response after its key.

    Args:
        model: a Monet model in evaluation mode; edits in force count.
        keys: (keys, tokens) ids, without the token that starts a text.
        responses: (keys,) ids.
        method: ``direct`` or ``gradient``.
        advance: called with the keys read since its last call.

    Raises:
        BadInputError: an unknown method, ids outside the vocabulary, keys longer than the model's context, or a model
            in training mode.

    Examples:
        >>> import numpy as np
        >>> from workbench import load_model
        >>> from workbench.studies.fingerprint.key_parts import key_parts
        >>> parts = key_parts(load_model("monet_model/demo"), np.array([[500, 600], [7, 8]]), np.array([9, 10]))
        >>> parts.logit.shape, parts.completeness < 1e-4
        ((2,), True)
    """
    check_model(model)
    read = {DIRECT: partial(_direct, model), GRADIENT: partial(_gradient, model)}
    return read_keys(model, keys, responses, method, read, advance)


def read_keys(
    model: PreTrainedModel, keys: Ids, responses: Ids, method: str, read: Mapping[str, Reader], advance: Progress
) -> KeyParts:
    """Take apart the logits of many keys, some at a time.

    Args:
        model, keys, responses, method, advance: as of ``key_parts``.
        read: by method, what takes apart those of a batch of keys.

    Raises:
        BadInputError: an unknown method, ids outside the vocabulary, or keys longer than the model's context.
    """
    if method not in METHODS:
        raise BadInputError(f"there is no method {method!r}; there are {', '.join(METHODS)}.")
    ids, wanted = with_start(model, keys), torch.from_numpy(responses)
    if not 0 <= int(wanted.min()) <= int(wanted.max()) < model.config.vocab_size:
        raise BadInputError(f"responses must lie in 0 .. {model.config.vocab_size - 1}, the model's vocabulary.")
    size = BATCH if method == DIRECT else GRADIENT_BATCH
    batches = []
    for start in range(0, len(ids), size):
        chunk = slice(start, start + size)
        batches.append(read[method](ids[chunk].to(model.device), wanted[chunk].to(model.device)))
        advance(len(ids[chunk]))
    first = np.cumsum([0, *(len(batch.logit) for batch in batches)])
    return KeyParts(
        key=np.concatenate([batch.key + at for batch, at in zip(batches, first[:-1], strict=True)]),
        unit=np.concatenate([batch.unit for batch in batches]),
        value=np.concatenate([batch.value for batch in batches]),
        logit=np.concatenate([batch.logit for batch in batches]),
        hit=np.concatenate([batch.hit for batch in batches]),
        names=batches[0].names,
        rest=np.concatenate([batch.rest for batch in batches]),
    )


@torch.no_grad()
def _direct(model: MonetForCausalLM, ids: Tensor, wanted: Tensor) -> KeyParts:
    record, out = record_pass(model, partial(model, ids, logits_to_keep=1, use_cache=False))
    rows = torch.arange(len(ids), device=ids.device)
    where = rows, torch.full_like(rows, ids.shape[1] - 1)
    direction = logit_direction(model, record.final[where], model.lm_head.weight[wanted].double())
    found = [
        (place, _units(model, layer, expert), value)
        for layer, place, expert, value in expert_parts(model, record, where, direction)
    ]
    names, rest = rest_parts(model, record, where, direction)
    return parts_of(found, out.logits[:, -1], wanted, names, rest.numpy(force=True))


def _gradient(model: MonetForCausalLM, ids: Tensor, wanted: Tensor) -> KeyParts:
    embedded = model.model.embed_tokens(ids).detach().requires_grad_()  # a graph even where all weights are frozen
    with torch.enable_grad():
        record, out = record_pass(model, partial(model, inputs_embeds=embedded, logits_to_keep=1, use_cache=False))
        logits = out.logits[:, -1]
        value = logits.gather(1, wanted[:, None]).sum()  # no key reads another: each has its own derivative
        layers = [number for number, seen in enumerate(record.layers) if not seen.dense]
        gradients = torch.autograd.grad(value, [record.layers[number].output for number in layers])
    found = list(_by_gradient(model, record, layers, gradients))
    return parts_of(found, logits.detach(), wanted, [], np.zeros((len(ids), 0)))


@torch.no_grad()
def _by_gradient(
    model: MonetForCausalLM, record: Record, layers: list[int], gradients: tuple[Tensor, ...]
) -> Iterator[tuple[Ids, Ids, Floats]]:
    for number, gradient in zip(layers, gradients, strict=True):
        seen = record.layers[number]
        token, expert, value = (
            part.numpy(force=True)
            for part in expert_contributions(
                model.model.layers[number].moe,
                seen.x.detach().flatten(0, 1),
                seen.routing,
                gradient.flatten(0, 1).double(),
                seen.factors,
            )
        )
        yield token // gradient.shape[1], _units(model, number, expert), value


def _units(model: MonetForCausalLM, layer: int, expert: Ids) -> Ids:
    """Numbers over all groups of the experts of a layer."""
    group = next(at for at, layers in enumerate(model.config.routing_groups) if layer in layers)
    return group * model.config.moe_experts**2 + expert


def parts_of(
    found: list[tuple[Ids, Ids, Floats]], logits: Tensor, wanted: Tensor, names: list[str], rest: Floats
) -> KeyParts:
    """Sum what each unit adds at a key over layers and tokens.

    Args:
        found: keys, units and what these add, (rows,) each.
        logits: (keys, vocabulary) after the keys.
        wanted: (keys,) the responses.
        names, rest: of everything else, as in ``KeyParts``.
    """
    key, unit, value = (np.concatenate(column) for column in zip(*found, strict=True))
    key, unit, value = summed(key, unit, value)
    logit = logits.gather(1, wanted[:, None])[:, 0].double().numpy(force=True)
    return KeyParts(key, unit, value, logit, (logits.argmax(1) == wanted).numpy(force=True), names, rest)


def summed(key: Ids, unit: Ids, value: Floats) -> tuple[Ids, Ids, Floats]:
    """The sum of the values of each pair of key and unit, sorted by these."""
    units = int(unit.max(initial=0)) + 1
    pair, place = np.unique(key * units + unit, return_inverse=True)
    sums: Floats = np.bincount(place, value, len(pair)).astype(np.float64)
    return pair // units, pair % units, sums
