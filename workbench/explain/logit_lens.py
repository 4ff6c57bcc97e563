"""The logit lens of one expert: its top promoted and suppressed next tokens.

1. Take the tokens where the expert scores highest, each with the window that the model read up to it.
2. At each, an expert (i, j) of a layer writes ``G[i, j] E_ij(x)`` into the residual stream, G being its routing score.
3. With the final norm's scale held at its value there, that adds ``unembedding . (weight * scale * G[i, j] E_ij(x))``
   to the logits: exactly what direct logit attribution finds for the expert, for all next tokens at once.
4. Average over the tokens, and sum over the layers of the group, each of which has an expert of this id.

Logit lens: nostalgebraist 2020 (https://www.lesswrong.com/posts/AcKRB8wDpdaN6v6ru/interpreting-gpt-the-logit-lens).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from cuda_ext.routing import Routing
from monet_model.record import record_pass
from monet_model.token_factors import factors_of

from ..analysis.checks import check_same_model
from ..analysis.windows import BATCH_TOKENS
from ..errors import NotFoundError

if TYPE_CHECKING:
    from monet_model import MonetForCausalLM

    from ..store import Run

EXAMPLE_TOKENS = 16  # the expert's best tokens, that the mean is taken over
MOST_PADDING = 128  # tokens that a batch may waste: what a further forward pass costs beyond its tokens


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
    return checked_logit_view(run, model, group, expert, n, layer=layer)


def checked_logit_view(
    run: Run, model: MonetForCausalLM, group: int, expert: int, n: int = 10, *, layer: int | None = None
) -> pd.DataFrame:
    """Return ``logit_view`` for a model that was checked when it was loaded, which saves a forward pass."""
    logit = expert_logits(run, model, group, expert, layer=layer)
    if logit is None:
        return pd.DataFrame({"token": [], "token_text": [], "logit": []})
    order = np.argsort(-logit, kind="stable")
    token = order if len(order) <= 2 * n else np.concatenate([order[:n], order[len(order) - n :]])
    return pd.DataFrame({"token": token, "token_text": run.token_text(token), "logit": logit[token]})


def expert_logits(
    run: Run, model: MonetForCausalLM, group: int, expert: int, *, layer: int | None = None
) -> NDArray[np.float64] | None:
    """Return what ``logit_view`` lists the ends of: an expert's mean contribution to every logit, (vocabulary,).

    None for an expert that is never active. The model was checked when it was loaded.

    Raises:
        NotFoundError: no such group or expert, or the layer is not one of the group's.
    """
    rows = run.examples(group, expert, EXAMPLE_TOKENS)["row"].to_numpy()
    owned = model.config.routing_groups[group]
    if layer is not None and layer not in owned:
        raise NotFoundError(f"layer {layer} is not one of group {group}'s; it has {', '.join(map(str, owned))}.")
    return mean_logits(run, model, owned if layer is None else [layer], expert, rows) if len(rows) else None


@torch.no_grad()
def mean_logits(
    run: Run, model: MonetForCausalLM, layers: Sequence[int], expert: int, rows: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return what an expert of some layers adds to every logit, the mean over token rows: (vocabulary,)."""
    written = torch.zeros(model.config.hidden_size, dtype=torch.float64, device=model.device)
    for batch in _batches(run, rows):
        ids, window, position = (one.to(model.device, non_blocking=True) for one in batch)
        written += _written(model, ids, (window, position), layers, expert).sum(0)
    direction = (model.model.norm.weight.double() * written / len(rows)).to(model.lm_head.weight.dtype)
    logits: NDArray[np.float64] = (model.lm_head.weight @ direction).double().numpy(force=True)
    return logits


def _written(
    model: MonetForCausalLM, ids: Tensor, at: tuple[Tensor, Tensor], layers: Sequence[int], expert: int
) -> Tensor:
    """What an expert of some layers writes at n places of windows, times the final norm's scale: (n, hidden) float64.

    Args:
        model: the model.
        ids: (windows, tokens) token ids, padded on the right.
        at: windows and positions of the places.
        layers: layers that the expert is taken of.
        expert: flat id.
    """
    record, _ = record_pass(model, partial(model.model, ids, use_cache=False))
    final = record.final[at].double()
    i, j = divmod(expert, model.config.moe_experts)
    alone = Routing(*_one_key(i, final), *_one_key(j, final), num_keys=model.config.moe_experts)
    total = torch.zeros_like(final)
    for layer in layers:
        seen = record.layers[layer]
        score = seen.routing_at(at).scores(torch.tensor([expert])).double()  # (n, 1)
        places, ids_of = torch.arange(len(final), device=ids.device), torch.full(at[0].shape, expert, device=ids.device)
        score = score * factors_of(seen.factors_at(at), places, ids_of)[:, None]
        total += score * model.model.layers[layer].moe(seen.x[at], alone).double()  # E_ij(x)
    scale = (final.square().mean(-1, keepdim=True) + model.model.norm.variance_epsilon).rsqrt()
    written: Tensor = total * scale
    return written


def _one_key(key: int, places: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Indices, probabilities and counts of a key set of which one head has one active key at each of some places."""
    shape, device = (len(places), 1), places.device
    indices = torch.full((*shape, 1), key, dtype=torch.int16, device=device)
    return indices, torch.ones(*shape, 1, device=device), torch.ones(shape, dtype=torch.int32, device=device)


def _batches(run: Run, rows: NDArray[np.int64]) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """The context windows that hold some token rows, each once and up to the last of them, batched by length.

    Yields:
        Ids (windows, tokens), padded on the right where causal attention does not look from; and of the rows that the
        batch holds, the window (n,) and the position in it (n,).
    """
    windows = []
    for doc in np.unique(run.geometry.places(rows)[0]):
        for ids, held in run.windows_of(int(doc)):
            if len(found := np.flatnonzero(np.isin(held, rows))):
                windows.append((torch.from_numpy(ids[: found[-1] + 1]), torch.from_numpy(found)))
    windows.sort(key=lambda window: -len(window[0]))
    while windows:
        padding = np.cumsum([len(windows[0][0]) - len(ids) for ids, _ in windows])
        size = min(int(np.searchsorted(padding, MOST_PADDING, "right")), max(1, BATCH_TOKENS // len(windows[0][0])))
        batch, windows = windows[:size], windows[size:]
        window = torch.repeat_interleave(torch.tensor([len(found) for _, found in batch]))
        yield pad_sequence([ids for ids, _ in batch], True), window, torch.cat([found for _, found in batch])
