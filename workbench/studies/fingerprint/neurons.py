"""The neurons of a fingerprinted dense model, to be removed as experts are: the comparison that Monet has to bear.

A neuron of a gated MLP writes its column of the down projection, times its activation ``silu(gate) * up``; a unit is a
neuron of a layer, numbered over all layers. As of experts, its direct part of a response's logit is the product of what
it writes with the direction that the logit reads at the key's last token (Elhage et al. 2021,
https://transformer-circuits.pub/2021/framework), and the part by gradient is the logit's derivative by a factor on it
at every token of the key.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from monet_model.record import record_pass

from ...analysis.attribution.direct import MLP, rest_parts
from ...analysis.attribution.target import logit_direction
from ...analysis.windows import read_windows
from ...baselines.units import Neurons, unit_sums
from ...errors import BadInputError, UnsupportedError
from ...progress import Progress, job, silent
from .checked import check_owner
from .erase_result import NEURONS
from .fingerprints import Fingerprints
from .key_parts import Floats, Ids, KeyParts, parts_of, read_keys
from .locate_result import DIRECT, GRADIENT
from .removals import Subject, key_halves, some_documents
from .rise import Cells, removal_order

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM

    from ...analysis.removal.heldout import HeldOut
    from ...analysis.windows import Windows
    from ...store import Run


@dataclass(frozen=True, eq=False)
class DenseOwned:
    """A fingerprinted dense model.

    Attributes:
        model: it, in evaluation mode.
        base: the model that the fingerprints were embedded in, in evaluation mode.
        fingerprints: the secret.
    """

    model: LlamaForCausalLM
    base: LlamaForCausalLM
    fingerprints: Fingerprints

    def describe(self) -> dict[str, str]:
        """What ``EraseResult.dense`` tells of it."""
        names = {"model": self.model.name_or_path or "", "base": self.base.name_or_path or ""}
        return names | {"commitment": self.fingerprints.commitment}


def check_dense(run: Run, dense: DenseOwned, count: int) -> None:
    """Raise unless a dense model can be measured on a run's documents beside so many other fingerprints.

    Raises:
        BadInputError: a model in training mode, or another number of fingerprints.
        DamagedError: the file beside the model cannot be read.
        UnsupportedError: the run's token ids or windows are not for this model; the base is of another shape; the
            fingerprints or the base are of another model.
    """
    name, config = dense.model.name_or_path or "the dense model", dense.model.config
    if dense.model.training or dense.base.training:
        raise BadInputError("the dense model or its base is in training mode: call model.eval() first.")
    if len(dense.fingerprints) != count:
        raise BadInputError(
            f"{name} has {len(dense.fingerprints):,} fingerprints and the run's model {count:,}; to be compared, embed "
            "as many in both."
        )
    vocabulary, context = run.manifest["model"]["vocabulary"], run.manifest["settings"]["context"]
    if config.vocab_size != vocabulary or config.max_position_embeddings < context:
        raise UnsupportedError(
            f"{name} knows {config.vocab_size:,} tokens and reads {config.max_position_embeddings:,} at once; the "
            f"documents of {run.path} need {vocabulary:,} and {context:,}. Give a model of the same tokenizer."
        )
    shapes = [{key: tuple(p.shape) for key, p in one.named_parameters()} for one in (dense.model, dense.base)]
    if shapes[0] != shapes[1]:
        raise UnsupportedError(
            f"the base {dense.base.name_or_path} is of another shape than {name}; give the model that the fingerprints "
            "were embedded in."
        )
    check_owner(dense.model, dense.base, dense.fingerprints)


def neuron_subject(heldout: HeldOut, dense: DenseOwned, method: str, seed: int, *, progress: bool = False) -> Subject:
    """The neurons of a dense model, ranked on half of its keys and on the choosing part of a run's documents.

    Args:
        heldout: the run's documents, of the dense model's tokenizer.
        dense: the model, its base and its secret.
        method: by which neurons are located: ``direct`` or ``gradient``.
        seed: of the halves of keys, and of the documents that outputs are compared on.
        progress: show what is being read.
    """
    model, base, fingerprints = dense.model, dense.base, dense.fingerprints
    run, neurons = heldout.run, Neurons(model)
    chose, _ = key_halves(len(fingerprints), seed)
    half = fingerprints.take(chose)
    with job("locate neurons", 2 * len(chose), "keys", progress) as advance:
        parts, of_base = (neuron_parts(one, half.keys, half.responses, method, advance) for one in (model, base))
    some = read_windows(run, some_documents(heldout.choosing, seed))
    with job("compare neurons", some.tokens, "tokens", progress) as advance:
        changed = neuron_changes(model, base, some, advance)
    choosing, label = read_windows(run, heldout.choosing), heldout.choosing["label"].to_numpy(copy=True)
    with job("use of neurons", choosing.tokens, "tokens", progress) as advance:
        used = unit_sums(neurons, choosing, label, len(heldout.labels), advance)
    cells = Cells.of(parts, of_base, sum(neurons.sizes))
    return Subject(
        units=NEURONS,
        model=model,
        fingerprints=fingerprints,
        chose=chose,
        sizes=neurons.sizes,
        located=removal_order(cells.mean(cells.difference)),
        mass=np.concatenate([sums.mass.sum(0) for sums in used]),
        changed=changed,
        removing=neurons.removing,
    )


def neuron_parts(
    model: LlamaForCausalLM, keys: Ids, responses: Ids, method: str = DIRECT, advance: Progress = silent
) -> KeyParts:
    """Take apart the logit of each response after its key, as ``key_parts`` does for a Monet model.

    Args:
        model: in evaluation mode.
        keys: (keys, tokens) ids, without the token that starts a text.
        responses: (keys,) ids.
        method: ``direct`` or ``gradient``.
        advance: called with the keys read since its last call.

    Raises:
        BadInputError: an unknown method, ids outside the vocabulary, or keys longer than the model's context.

    Examples:
        >>> import numpy as np
        >>> from workbench.checkpoint import load_llama
        >>> from workbench.studies.fingerprint.neurons import neuron_parts
        >>> model = load_llama("workbench/baselines/models/dense")
        >>> parts = neuron_parts(model, np.array([[500, 600], [7, 8]]), np.array([9, 10]))
        >>> len(parts.unit) == 2 * 4 * 1883, parts.completeness < 1e-4  # both keys, every neuron of four layers
        (True, True)
    """
    read = {DIRECT: partial(_direct, model), GRADIENT: partial(_gradient, model)}
    return read_keys(model, keys, responses, method, read, advance)


@torch.no_grad()
def _direct(model: LlamaForCausalLM, ids: Tensor, wanted: Tensor) -> KeyParts:
    record, activations = record_pass(model, partial(Neurons(model).activations, ids))
    rows = torch.arange(len(ids), device=ids.device)
    where = rows, torch.full_like(rows, ids.shape[1] - 1)
    direction = logit_direction(model, record.final[where], model.lm_head.weight[wanted].double())
    added = [
        values[where].double() * (direction @ layer.mlp.down_proj.weight.double())
        for values, layer in zip(activations, model.model.layers, strict=True)
    ]
    logits = model.lm_head(model.model.norm(record.final[where]))
    names, rest = rest_parts(model, record, where, direction)
    others = [at for at, name in enumerate(names) if not name.endswith(MLP)]  # the sums of the neurons, which are apart
    return _parts(added, logits, wanted, [names[at] for at in others], rest[:, others].numpy(force=True))


def _gradient(model: LlamaForCausalLM, ids: Tensor, wanted: Tensor) -> KeyParts:
    factors = [ids.new_ones((len(ids), 1, size), dtype=model.dtype).requires_grad_() for size in Neurons(model).sizes]
    with torch.enable_grad(), ExitStack() as hooks:
        for layer, factor in zip(model.model.layers, factors, strict=True):
            hook = layer.mlp.down_proj.register_forward_pre_hook(lambda _module, args, factor=factor: args[0] * factor)
            hooks.callback(hook.remove)
        logits = model(input_ids=ids, logits_to_keep=1, use_cache=False).logits[:, -1]
        value = logits.gather(1, wanted[:, None]).sum()  # no key reads another: each has its own derivative
        gradients = torch.autograd.grad(value, factors)
    added = [gradient[:, 0].double() for gradient in gradients]
    return _parts(added, logits.detach(), wanted, [], np.zeros((len(ids), 0)))


def _parts(added: Sequence[Tensor], logits: Tensor, wanted: Tensor, names: list[str], rest: Floats) -> KeyParts:
    """The parts of some keys, from those of every layer's neurons, (keys, neurons) each."""
    values = torch.cat(list(added), 1).numpy(force=True)
    key, unit = np.indices(values.shape).reshape(2, -1)
    return parts_of([(key, unit, values.ravel())], logits, wanted, names, rest)


@torch.inference_mode()
def neuron_changes(
    model: LlamaForCausalLM, base: LlamaForCausalLM, windows: Windows, advance: Progress = silent
) -> Floats:
    """Return how far what every neuron writes is from what the same neuron of the base writes, on clean text.

    As ``output_changes`` does for experts, both read what the layer reads in ``model``, so that only a neuron's own
    weights count. An activation has either sign and its mean may vanish, so the distance is taken at every token, which
    is exact: a neuron has one column.

    Args:
        model: in evaluation mode.
        base: one of the same shape, in evaluation mode.
        windows: clean text.
        advance: called with the tokens read since its last call.

    Returns:
        (layers * neurons,) the root of the mean over tokens of the squared distance, in units of the residual stream.
    """
    layers = list(zip(model.model.layers, base.model.layers, strict=True))
    # With activations a and b, and columns c and d: |a c - b d|^2 = a^2 |c|^2 - 2 a b c.d + b^2 |d|^2.
    products = torch.zeros(len(layers), 3, layers[0][0].mlp.down_proj.in_features, dtype=torch.float64)
    tokens = 0
    for batch in windows.batches:
        where = tuple(at.to(model.device) for at in (batch.row >= 0).nonzero(as_tuple=True))
        record, activations = record_pass(model, partial(Neurons(model).activations, batch.ids.to(model.device)))
        for at, (_, other) in enumerate(layers):
            a = activations[at][where].double()
            mlp, x = other.mlp, record.layers[at].x[where].to(base.device)
            b = (mlp.act_fn(mlp.gate_proj(x)) * mlp.up_proj(x)).to(a.device).double()
            products[at] += torch.stack([(one * two).sum(0) for one, two in ((a, a), (a, b), (b, b))]).cpu()
        tokens += len(where[0])
        advance(int(batch.real.sum()))
    squares = []
    for (own, other), (aa, ab, bb) in zip(layers, products, strict=True):
        c, d = (one.mlp.down_proj.weight.double().cpu() for one in (own, other))
        squares.append(aa * c.square().sum(0) - 2 * ab * (c * d).sum(0) + bb * d.square().sum(0))
    changes: Floats = (torch.cat(squares).clamp(min=0) / max(tokens, 1)).sqrt().numpy()
    return changes
