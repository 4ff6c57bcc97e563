"""The logit lens of one expert: its top promoted and suppressed next tokens.

1. Take the tokens where the expert scores highest, each with the window that the model read up to it.
2. At each, an expert (i, j) of a layer writes ``G[i, j] E_ij(x)`` into the residual stream, G being its routing score.
3. With the final norm's scale held at its value there, that adds ``unembedding . (weight * scale * G[i, j] E_ij(x))``
   to the logits: exactly what direct logit attribution finds for the expert, for all next tokens at once.
4. Average over the tokens, and sum over the layers of the group, each of which has an expert of this id.

Logit lens: nostalgebraist 2020 (https://www.lesswrong.com/posts/AcKRB8wDpdaN6v6ru/interpreting-gpt-the-logit-lens).
"""

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
from ..errors import NotFoundError

if TYPE_CHECKING:
    from monet_model import MonetForCausalLM

    from ..store import Run

EXAMPLE_TOKENS = 16  # the expert's best tokens, that the mean is taken over


def logit_view(
    run: Run, model: MonetForCausalLM, group: int, expert: int, n: int = 10, *, layer: int | None = None
) -> pd.DataFrame:
    """Return an expert's top promoted and suppressed next tokens: what it adds to their logits.

    Contributions are averaged over the ``EXAMPLE_TOKENS`` tokens where the expert scores highest, and are exact
    there (see the module). A group's router serves several layers, each with an expert of this id and its own weights.

    Args:
        run: an opened run.
        model: the model it was exported from, in evaluation mode.
        group: number of the routing group.
        expert: flat expert id ``i * E + j``.
        n: number of promoted tokens, and of suppressed ones.
        layer: one layer of the group. Default: the sum over all of them.

    Returns:
        The ``n`` most promoted tokens, then the ``n`` most suppressed with the most suppressed last; every token once
        where the vocabulary has fewer than 2n; empty for an expert that is never active.

        - token: token id.
        - token_text: its text.
        - logit: mean contribution to its logit.

    Raises:
        NotFoundError: no such group or expert, or the layer is not one of the group's.
        UnsupportedError: another model than the run's.

    Source: the logit lens (nostalgebraist 2020), applied to one expert.

    Examples:
        >>> from monet_model import MonetForCausalLM
        >>> from workbench import open_run
        >>> from workbench.explain import logit_view
        >>> run = open_run("runs/demo")
        >>> model = MonetForCausalLM.from_pretrained(run.model_path)
        >>> view = logit_view(run, model, 1, int(run.experts(1)["mass"].idxmax()), n=3)
        >>> view.columns.tolist(), len(view)
        (['token', 'token_text', 'logit'], 6)
        >>> bool((view["logit"][:3] > 0).all() and (view["logit"][3:] < 0).all())
        True
    """
    check_same_model(run, model)
    rows = run.examples(group, expert, EXAMPLE_TOKENS)["row"].to_numpy()
    owned = model.config.routing_groups[group]
    if layer is not None and layer not in owned:
        raise NotFoundError(f"layer {layer} is not one of group {group}'s; it has {', '.join(map(str, owned))}.")
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
    """Return what an expert of some layers adds to every logit, the mean over token rows: (vocabulary,)."""
    written = torch.zeros(model.config.hidden_size, dtype=torch.float64, device=model.device)
    for ids in read_prefixes(run, rows):
        written += _written(model, torch.from_numpy(ids)[None].to(model.device), layers, expert)
    direction = model.model.norm.weight.double() * written / len(rows)
    logits: NDArray[np.float64] = (model.lm_head.weight.double() @ direction).numpy(force=True)
    return logits


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
    written: Tensor = total * (final.square().mean() + model.model.norm.variance_epsilon).rsqrt()
    return written


def read_prefixes(run: Run, rows: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Return, for each token row, the ids that the model read up to it, from the start of its context window."""
    width = run.geometry.width
    docs, positions = run.geometry.places(rows)
    return [
        run.input_ids(int(doc))[position // width * width : position + 1]
        for doc, position in zip(docs, positions, strict=True)
    ]
