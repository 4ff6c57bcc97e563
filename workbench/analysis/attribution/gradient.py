"""Experts' effects through the whole model: gradient attribution, and true ablation to hold it to."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from scipy.stats import spearmanr
from torch import Tensor

from monet_model.record import Record, record_pass

from ...errors import WorkbenchError
from .contributions import expert_contributions
from .direct import attribute
from .target import LinearTarget, Target, check_ids

if TYPE_CHECKING:
    from monet_model import MonetForCausalLM

GROUP = ["layer", "expert"]


def attribute_gradient(
    model: MonetForCausalLM, input_ids: Tensor, target: Target, layers: Iterable[int] | None = None
) -> pd.DataFrame:
    """Gradient attribution to the experts of any layer, at every position of a prompt.

    An expert's contribution is ``G[i, j] (dt/dy . E_ij(x))``, y being the output of its layer at that position and t
    the target: the derivative of t by the expert's factor, through everything that follows, routing included. Its
    negative is the first-order estimate of what removing the expert there does (attribution patching with removal as
    the patch: Syed et al. 2023, arXiv 2310.10348).

    Args:
        model, input_ids, target: as :func:`workbench.analysis.attribute` takes them; a function of the logits is
            differentiated, which is exact.
        layers: the layers wanted; all by default.

    Returns:
        One row an active expert of a layer at a position: layer, position, expert, contribution; sorted by these.

    Raises:
        WorkbenchError: as ``attribute``, and for a layer that the model does not have.
    """
    ids = check_ids(model, input_ids)
    count = model.config.num_hidden_layers
    chosen = list(range(count)) if layers is None else sorted(set(layers))
    if wrong := [layer for layer in chosen if not 0 <= layer < count]:
        raise WorkbenchError(f"there is no layer {wrong[0]}; the model has the layers 0 to {count - 1}.")
    # Inputs that ask for a gradient give a graph even to a model whose parameters are frozen.
    embedded = model.model.embed_tokens(ids).detach().requires_grad_()
    with torch.enable_grad():
        record, out = record_pass(model, lambda: model(inputs_embeds=embedded, logits_to_keep=1, use_cache=False))
        logits = out.logits[0, -1]
        value = LinearTarget.read(target, logits).value(logits)
        gradients = torch.autograd.grad(value, [record.layers[layer].output for layer in chosen])
    return pd.concat(
        [_layer_table(model, record, layer, gradient) for layer, gradient in zip(chosen, gradients, strict=True)],
        ignore_index=True,
    )


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
) -> np.ndarray:
    """What removing an expert does to a target: its change, for one expert at a time.

    The expert is removed in every layer of its group and at every position, by ``edit_experts``.

    Args:
        model, input_ids, target: as :func:`workbench.analysis.attribute` takes them; a function is evaluated as it is.
        experts: pairs (layer that owns the group's router, flat expert id).

    Returns:
        (experts,) float64: the target without the expert less the target with it.
    """
    ids = check_ids(model, input_ids)

    def measure() -> float:
        logits = model(ids, logits_to_keep=1, use_cache=False).logits[0, -1]
        return float(target(logits) if callable(target) else LinearTarget.read(target, logits).value(logits))

    plain, changes = measure(), []
    factors = torch.ones(model.config.moe_experts, model.config.moe_experts, device=model.device)
    for layer, expert in experts:
        factors.view(-1)[expert] = 0
        with model.edit_experts({layer: factors}):
            changes.append(measure() - plain)
        factors.view(-1)[expert] = 1
    return np.asarray(changes, np.float64)


@dataclass(frozen=True)
class Faithfulness:
    """How well two attributions foretell true ablation.

    Attributes:
        table: one row an expert: layer (that owns its group's router), expert; ``direct`` and ``gradient``, the effects
            of removal that the attributions foretell, summed over the group's layers (and positions); ``ablation``, the
            true effect. Largest foretold by gradient first.
        spearman: ``direct`` and ``gradient`` -> rank correlation with the true effects.
    """

    table: pd.DataFrame
    spearman: dict[str, float]

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        return {"spearman": self.spearman, "experts": self.table.to_dict("records")}


def compare_with_ablation(model: MonetForCausalLM, input_ids: Tensor, target: Target, n: int = 50) -> Faithfulness:
    """Ablates the ``n`` experts of largest gradient attribution and ranks the attributions against the truth.

    Args:
        model, input_ids, target: as :func:`workbench.analysis.attribute` takes them.
        n: experts to ablate; a forward pass each.

    Raises:
        WorkbenchError: as ``attribute``, or fewer than two experts to rank.
    """
    owners = np.repeat([g.start for g in model.config.routing_groups], [len(g) for g in model.config.routing_groups])

    def removal(rows: pd.DataFrame) -> pd.Series:
        return -rows.assign(layer=owners[rows["layer"]]).groupby(GROUP)["contribution"].sum()

    gradient = removal(attribute_gradient(model, input_ids, target))
    direct = removal(attribute(model, input_ids, target).experts)
    chosen = gradient.index[np.argsort(-gradient.abs().to_numpy(), kind="stable")[:n]]
    if len(chosen) < 2:
        raise WorkbenchError(f"a rank correlation needs at least 2 experts, got {len(chosen)}.")
    table = pd.DataFrame({"direct": direct.reindex(chosen, fill_value=0.0), "gradient": gradient[chosen]})
    table["ablation"] = ablate(model, input_ids, target, chosen)
    spearman = {name: float(spearmanr(table[name], table["ablation"]).statistic) for name in ("direct", "gradient")}
    return Faithfulness(table.reset_index(), spearman)
