"""Experts' effects through the whole model: gradient attribution, and the true ablation it is compared with.

1. Run the model over the prompt with gradients and record what every expert layer read and wrote.
2. Differentiate the target by the output y of every expert layer at every position.
3. An active expert contributes ``S[i, j] G[i, j] (dt/dy . E_ij(x))``: the derivative of the target t by the expert's
   factor. Its negative is the first-order estimate of what zero-ablating the expert does to t.
4. To see how good the estimate is, ablate the top experts one at a time, measure, and correlate ranks.

Attribution patching with zero-ablation as the patch: Syed et al. 2023 (https://arxiv.org/abs/2310.10348).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr
from torch import Tensor

from monet_model.record import Record, record_pass

from ...errors import BadInputError, NotFoundError
from .contributions import expert_contributions
from .direct import attribute
from .target import LinearTarget, Target, check_ids

if TYPE_CHECKING:
    from monet_model import MonetForCausalLM

MIN_RANKED = 2  # experts that a rank correlation needs


def attribute_gradient(
    model: MonetForCausalLM, input_ids: Tensor, target: Target, layers: Iterable[int] | None = None
) -> pd.DataFrame:
    """Return the gradient attribution of a target to the experts of any layer, at every position of a prompt.

    A contribution is the derivative of the target by the expert's factor at that position, through everything that
    follows, routing included. Unlike ``attribute`` it is a first-order estimate of an effect and sums to nothing in
    particular; ``compare_with_ablation`` tells how well it predicts true ablation. Nor do integrated gradients add up
    (captum, inseq): routing jumps where a key enters or leaves, and an integral of derivatives does not see jumps.

    Args:
        model: a Monet model in evaluation mode.
        input_ids: (1, tokens) integer token ids, at most the model's context.
        target: a token id; a pair (a, b) for the difference of their logits; or a differentiable function from the
            last position's logits (vocabulary,) to a scalar, which is differentiated as it is.
        layers: the layers wanted. Default: all that have experts.

    Returns:
        One row per active expert of a layer at a position, sorted by these:

        - layer: the layer.
        - position: token position in the prompt.
        - expert: flat expert id ``i * E + j``.
        - contribution: derivative of the target by the expert's factor there.

    Raises:
        BadInputError: as ``attribute``.
        NotFoundError: the model has no such layer, or it has no experts.

    Source: Syed et al. 2023, arXiv 2310.10348, with zero-ablation as the patch.

    Examples:
        >>> from monet_model import MonetForCausalLM
        >>> from transformers import AutoTokenizer
        >>> from workbench.analysis import attribute_gradient
        >>> model = MonetForCausalLM.from_pretrained("monet_model/demo")
        >>> tokenizer = AutoTokenizer.from_pretrained("monet_model/demo")
        >>> ids = tokenizer("public static void", return_tensors="pt").input_ids
        >>> (token,) = tokenizer.encode(" get", add_special_tokens=False)
        >>> rows = attribute_gradient(model, ids, token, layers=[2, 3])
        >>> rows.columns.tolist()
        ['layer', 'position', 'expert', 'contribution']
        >>> last = rows["position"] == ids.shape[1] - 1  # after the last layer, no attention moves other positions
        >>> bool((rows.loc[~last & (rows["layer"] == 3), "contribution"] == 0).all())
        True
    """
    chosen = _layers_with_experts(model, layers)
    record, gradients = layer_gradients(model, input_ids, target, chosen)
    return pd.concat(
        [_layer_table(model, record, layer, gradient) for layer, gradient in zip(chosen, gradients, strict=True)],
        ignore_index=True,
    )


def layer_gradients(
    model: MonetForCausalLM, input_ids: Tensor, target: Target, layers: list[int]
) -> tuple[Record, tuple[Tensor, ...]]:
    """Return the record of a prompt, and the target's derivative by the output of some layers' experts or MLP.

    Args:
        model, input_ids, target: as of ``attribute_gradient``.
        layers: the layers.

    Returns:
        The record, and for each layer (1, tokens, hidden).

    Raises:
        BadInputError: as ``attribute``.
    """
    ids = check_ids(model, input_ids)
    # Inputs that ask for a gradient give a graph even to a model whose parameters are frozen.
    embedded = model.model.embed_tokens(ids).detach().requires_grad_()
    with torch.enable_grad():
        record, out = record_pass(model, lambda: model(inputs_embeds=embedded, logits_to_keep=1, use_cache=False))
        logits = out.logits[0, -1]
        value = LinearTarget.at(target, logits).value(logits)
        return record, torch.autograd.grad(value, [record.layers[layer].output for layer in layers])


def _layers_with_experts(model: MonetForCausalLM, layers: Iterable[int] | None) -> list[int]:
    """The layers asked for, ascending; by default all with experts."""
    groups, count = model.config.layer_groups, model.config.num_hidden_layers
    if layers is None:
        return [layer for layer, group in enumerate(groups) if group >= 0]
    chosen = sorted(set(layers))
    for layer in chosen:
        if not 0 <= layer < count:
            raise NotFoundError(f"there is no layer {layer}; the model has the layers 0 to {count - 1}.")
        if groups[layer] < 0:
            raise NotFoundError(f"layer {layer} is dense and has no experts; attribute_neurons takes it apart.")
    return chosen


@torch.no_grad()
def _layer_table(model: MonetForCausalLM, record: Record, layer: int, gradient: Tensor) -> pd.DataFrame:
    seen: Any = record.layers[layer]
    moe = model.model.layers[layer].moe
    position, expert, contribution = expert_contributions(
        moe, seen.x[0], seen.routing, gradient[0].double(), seen.factors
    )
    columns = {"position": position, "expert": expert, "contribution": contribution}
    return pd.DataFrame({"layer": layer} | {name: values.numpy(force=True) for name, values in columns.items()})


@torch.no_grad()
def ablate(
    model: MonetForCausalLM, input_ids: Tensor, target: Target, experts: Iterable[tuple[int, int]]
) -> NDArray[np.float64]:
    """Return how much a target changes when an expert is zero-ablated, one expert at a time.

    The expert is removed from every layer of its group and at every position, by ``model.edit_experts``, on top of
    edits in force. Takes one forward pass per expert and one without.

    Args:
        model: a Monet model in evaluation mode.
        input_ids: (1, tokens) integer token ids, at most the model's context.
        target: as of ``attribute``; a function of the logits is evaluated as it is.
        experts: pairs (layer that owns the group's router, flat expert id).

    Returns:
        (experts,) the target without the expert minus the target with it, in logits, in the order of ``experts``.

    Raises:
        BadInputError: as ``attribute``, or an expert id outside the model.
        ValueError: a layer owns no router.

    Examples:
        >>> from monet_model import MonetForCausalLM
        >>> from transformers import AutoTokenizer
        >>> from workbench.analysis import ablate, attribute
        >>> model = MonetForCausalLM.from_pretrained("monet_model/demo")
        >>> tokenizer = AutoTokenizer.from_pretrained("monet_model/demo")
        >>> ids = tokenizer("public static void", return_tensors="pt").input_ids
        >>> best = attribute(model, ids).experts.query("layer == 3").nlargest(1, "contribution").iloc[0]
        >>> change = ablate(model, ids, attribute(model, ids).target, [(2, int(best["expert"]))])  # layers 2 and 3
        >>> change.shape, bool(change[0] < 0)
        ((1,), True)
    """
    ids = check_ids(model, input_ids)
    keys = model.config.moe_experts

    def run() -> Tensor:
        logits: Tensor = model(ids, logits_to_keep=1, use_cache=False).logits[0, -1]
        return logits

    first = run()
    value = target if callable(target) else LinearTarget.at(target, first).value
    found = [value(first)]  # fetched from a GPU together
    factors = torch.ones(keys, keys)
    for layer, expert in experts:
        if not 0 <= expert < keys**2:
            raise BadInputError(f"there is no expert {expert}; ids run from 0 to {keys**2 - 1}.")
        factors.view(-1)[expert] = 0
        with model.edit_experts({layer: factors}):
            found.append(value(run()))
        factors.view(-1)[expert] = 1
    values: NDArray[np.float64] = torch.stack([one.double().reshape(()) for one in found]).numpy(force=True)
    return values[1:] - values[0]


@dataclass(frozen=True)
class Faithfulness:
    """How well two attributions predict true ablation.

    Attributes:
        table: one row per expert, in falling order of the effect that gradients predict:

            - layer: the layer that owns the router of the expert's group.
            - expert: flat expert id ``i * E + j``.
            - direct: effect of ablation that ``attribute`` predicts, summed over the group's layers, in logits.
            - gradient: effect that ``attribute_gradient`` predicts, summed over layers and positions.
            - ablation: the true effect, of ``ablate``.
        spearman: rank correlation of ``direct`` and of ``gradient`` with ``ablation``, under these names.

    Examples:
        >>> import torch
        >>> from monet_model import MonetForCausalLM
        >>> from workbench.analysis import compare_with_ablation
        >>> model = MonetForCausalLM.from_pretrained("monet_model/demo")
        >>> compared = compare_with_ablation(model, torch.tensor([[0, 500, 600]]), 700, n=4)
        >>> len(compared.table), list(compared.spearman)
        (4, ['direct', 'gradient'])
    """

    table: pd.DataFrame
    spearman: dict[str, float]

    def to_json(self) -> dict[str, Any]:
        """Correlations and rows, ready for JSON."""
        return {"spearman": self.spearman, "experts": self.table.to_dict("records")}


def compare_with_ablation(model: MonetForCausalLM, input_ids: Tensor, target: Target, n: int = 50) -> Faithfulness:
    """Zero-ablate the ``n`` experts of largest gradient attribution, and compare both attributions with the truth.

    Args:
        model: a Monet model in evaluation mode.
        input_ids: (1, tokens) integer token ids, at most the model's context.
        target: as of ``attribute``.
        n: experts to ablate; one forward pass each.

    Returns:
        A ``Faithfulness``.

    Raises:
        BadInputError: as ``attribute``, or fewer than two experts to rank.

    Examples:
        >>> from monet_model import MonetForCausalLM
        >>> from transformers import AutoTokenizer
        >>> from workbench.analysis import compare_with_ablation
        >>> model = MonetForCausalLM.from_pretrained("monet_model/demo")
        >>> tokenizer = AutoTokenizer.from_pretrained("monet_model/demo")
        >>> ids = tokenizer("public static void", return_tensors="pt").input_ids
        >>> (token,) = tokenizer.encode(" get", add_special_tokens=False)
        >>> compared = compare_with_ablation(model, ids, token, n=8)
        >>> compared.table.columns.tolist()
        ['layer', 'expert', 'direct', 'gradient', 'ablation']
        >>> compared.spearman["gradient"] > compared.spearman["direct"]  # direct attribution sees no later layers
        True
    """
    gradient = attribute_gradient(model, input_ids, target)
    return rank_against_ablation(model, input_ids, target, attribute(model, input_ids, target).experts, gradient, n)


def rank_against_ablation(
    model: MonetForCausalLM, input_ids: Tensor, target: Target, direct: pd.DataFrame, gradient: pd.DataFrame, n: int
) -> Faithfulness:
    """As ``compare_with_ablation``, of attributions that are known: rows of ``Attribution.experts``, and of
    ``attribute_gradient``."""
    owners = {layer: group[0] for group in model.config.routing_groups for layer in group}

    def removal(rows: pd.DataFrame) -> pd.Series:
        return -rows.assign(layer=rows["layer"].map(owners)).groupby(["layer", "expert"])["contribution"].sum()

    by_direct, by_gradient = removal(direct), removal(gradient)
    chosen = by_gradient.index[np.argsort(-by_gradient.abs().to_numpy(), kind="stable")[:n]]
    if len(chosen) < MIN_RANKED:
        raise BadInputError(f"a rank correlation needs at least {MIN_RANKED} experts, got {len(chosen)}.")
    table = pd.DataFrame({"direct": by_direct.reindex(chosen, fill_value=0.0), "gradient": by_gradient[chosen]})
    table["ablation"] = ablate(model, input_ids, target, chosen)
    spearman = {name: float(spearmanr(table[name], table["ablation"]).statistic) for name in ("direct", "gradient")}
    return Faithfulness(table.reset_index(), spearman)
