"""The logit view: which next tokens an expert raises and lowers when it fires."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from cuda_ext.routing import Routing
from monet_model.record import record_pass

from ..analysis.checks import check_same_model
from ..errors import WorkbenchError

if TYPE_CHECKING:
    from monet_model import MonetForCausalLM

    from ..store import Run

TOKENS = 16  # top tokens that the mean is taken over


def logit_view(
    run: Run, model: MonetForCausalLM, group: int, expert: int, n: int = 10, *, layer: int | None = None
) -> pd.DataFrame:
    """What an expert adds to the logit of every next token, on the mean over its top :data:`TOKENS` tokens.

    At a token where it scores G[i, j], the expert of a layer writes ``G[i, j] E_ij(x)`` into the residual stream; with
    the final norm's scale held at its value there, that adds ``unembedding . (weight * scale * G[i, j] E_ij(x))`` to
    the logits (the logit lens, nostalgebraist 2020, for one expert; exact, as the direct attribution of
    :func:`workbench.analysis.attribute` is). A group's router serves several layers, and each holds an expert of this
    id with weights of its own.

    Args:
        run: an opened run.
        model: the model it was exported from, in evaluation mode.
        group, expert: which expert.
        n: tokens raised most and tokens lowered most.
        layer: one layer of the group; by default the sum over all of them.

    Returns:
        Columns token, token_text and logit (mean contribution); the ``n`` raised most, then the ``n`` lowered most with
        the lowest at the end; every token once where the vocabulary has fewer than 2n. Empty for an expert never seen.

    Raises:
        WorkbenchError: there is no such expert, the layer is not one of the group's, or another model.
    """
    check_same_model(run, model)
    rows = run.examples(group, expert, TOKENS)["row"].to_numpy()
    owned = model.config.routing_groups[group]
    if layer is not None and layer not in owned:
        raise WorkbenchError(f"layer {layer} is not one of group {group}'s; it has {', '.join(map(str, owned))}.")
    layers = owned if layer is None else [layer]
    if not len(rows):
        return pd.DataFrame({"token": [], "token_text": [], "logit": []})
    logit = mean_logits(run, model, layers, expert, rows)
    order = np.argsort(-logit, kind="stable")
    token = order if len(order) <= 2 * n else np.concatenate([order[:n], order[len(order) - n :]])
    return pd.DataFrame({"token": token, "token_text": run.token_text(token), "logit": logit[token]})


@torch.no_grad()
def mean_logits(
    run: Run, model: MonetForCausalLM, layers: Sequence[int], expert: int, rows: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Mean over token rows of what an expert of some layers adds to every logit: (vocabulary,), in float64."""
    written = torch.zeros(model.config.hidden_size, dtype=torch.float64, device=model.device)
    for ids in read_prefixes(run, rows):
        written += _written(model, torch.from_numpy(ids)[None].to(model.device), layers, expert)
    direction = model.model.norm.weight.double() * written / len(rows)
    return (model.lm_head.weight.double() @ direction).numpy(force=True)


def _written(model: MonetForCausalLM, ids: Tensor, layers: Sequence[int], expert: int) -> Tensor:
    """What an expert of some layers writes at the last position, times the final norm's scale: (hidden,) float64."""
    record, _ = record_pass(model, partial(model.model, ids, use_cache=False))
    i, j = divmod(expert, model.config.moe_experts)
    one = torch.eye(model.config.moe_experts, device=ids.device)
    total = torch.zeros_like(record.final[0, -1], dtype=torch.float64)
    for layer in layers:
        seen = record.layers[layer]
        g1, g2 = seen.routing[-1:].dense()
        score = g1[0, :, i].double() @ g2[0, :, j].double()
        if seen.factors is not None:
            score = score * seen.factors[i, j]
        alone = Routing.from_dense(one[None, None, i], one[None, None, j])
        output = model.model.layers[layer].moe(seen.x[0, -1:], alone)  # E_ij(x)
        total += score * output[0].double()
    final = record.final[0, -1].double()
    return total * (final.square().mean() + model.model.norm.variance_epsilon).rsqrt()


def read_prefixes(run: Run, rows: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """For each token row, the ids that the model read up to it, its own at the end: its window as far as there."""
    context = run.manifest["settings"]["context"]
    places = run.tokens(rows)
    found = []
    for doc, position in zip(places["doc"], places["position"], strict=True):
        found.append(run.input_ids(int(doc))[position // context * context : position + 1])
    return found
