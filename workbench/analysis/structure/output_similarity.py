"""Similarity of the mean outputs of experts, computed from the matrices of their keys."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from monet_model.experts import OutputPart
from monet_model.record import record_pass

from ...errors import NotFoundError
from ...progress import Progress, silent
from ...store.address import shared_key
from ..checks import check_same_model
from ..windows import read_windows

if TYPE_CHECKING:
    from monet_model import MonetForCausalLM

    from ...store import Run

SAMPLED_TOKENS = 20_000  # hidden units are averaged over about as many; the last document is read to its end


@dataclass(frozen=True)
class OutputDirections:
    """The mean output of every expert of a group, over all layers of the group.

    An expert's output depends on its hidden units, and these on the token. Here each hidden unit has its mean
    activation over the tokens that use its key, weighted by the key's probability, and an expert's output is computed
    from these means. This is an approximation: tokens that use the key together with other keys count as well.

    Attributes:
        parts: the outputs as products of keys, for all layers of the group.
        squares: (keys, keys) squared length of every expert's mean output.
        used: (keys, keys) whether the sampled tokens use both keys of an expert.

    Examples:
        >>> from workbench import load_model, open_run
        >>> from workbench.analysis import output_directions
        >>> run = open_run("runs/demo")
        >>> directions = output_directions(run, load_model(run.model_path), group=0)
        >>> expert = int(run.top_experts(0, limit=1).index[0])
        >>> directions.similar(expert, 3).columns.tolist()
        ['expert', 'cosine', 'shared']
        >>> round(float(directions.cosines(expert)[expert]), 6)
        1.0
    """

    parts: list[OutputPart]
    squares: Tensor
    used: Tensor

    def cosines(self, expert: int) -> np.ndarray:
        """Cosine similarity of one expert's mean output with that of every expert.

        Computed from the matrices of the keys; no output other than that of ``expert`` is formed.

        Returns:
            (E * E,) by flat id; NaN where a key was not used.

        Raises:
            NotFoundError: there is no such expert.
        """
        keys = len(self.squares)
        if not 0 <= expert < keys**2:
            raise NotFoundError(f"there is no expert {expert}; ids run from 0 to {keys**2 - 1}.")
        i, j = divmod(expert, keys)
        dots = torch.stack([part.dots(part.vector(i, j)) for part in self.parts]).sum(0)
        lengths = self.squares.clamp(min=0).sqrt()
        known = self.used & self.used[i, j] & (lengths * lengths[i, j] > 0)
        return torch.where(known, dots / (lengths * lengths[i, j]), torch.nan).clamp(-1, 1).flatten().numpy(force=True)

    def similar(self, expert: int, n: int) -> pd.DataFrame:
        """The ``n`` experts with the most similar mean outputs, most similar first.

        Returns:
            - expert: flat id.
            - cosine: cosine similarity of the mean outputs.
            - shared: the key that both have: ``row`` (set 1), ``column`` (set 2) or ``""``.
        """
        cosine = self.cosines(expert)
        cosine[expert] = np.nan
        best = np.argsort(-cosine, kind="stable")[: min(n, int((~np.isnan(cosine)).sum()))]
        shared = shared_key(best, expert, len(self.squares))
        return pd.DataFrame({"expert": best, "cosine": cosine[best], "shared": shared})


@torch.inference_mode()
def output_directions(
    run: Run, model: MonetForCausalLM, group: int, seed: int = 0, advance: Progress = silent
) -> OutputDirections:
    """Measure the mean output of every expert of a group, on documents drawn at random.

    Args:
        run: an opened run.
        model: the model it was exported from, in evaluation mode.
        group: the layer group.
        seed: seed of the draw.
        advance: called with the tokens read since its last call.

    Returns:
        ``OutputDirections``, whose class has an example.

    Raises:
        NotFoundError: the run has no such group.
        UnsupportedError: the model is not the run's.
    """
    first = run.group_layers[run.check_group(group)]
    check_same_model(run, model)
    drawn = run.documents[run.documents["tokens"] > 0].sample(frac=1, random_state=seed)
    drawn = drawn[drawn["tokens"].cumsum() - drawn["tokens"] < SAMPLED_TOKENS]
    layers = run.layers_of(group)
    keys = run.num_keys
    totals: dict[tuple[int, int], Tensor] = {}  # sums of a layer's activations at the keys of a set
    weights = torch.zeros(2, keys, dtype=torch.float64, device=model.device)
    for batch in read_windows(run, drawn).batches:
        ids = batch.ids.to(model.device, non_blocking=True)
        record, _ = record_pass(model, partial(model.model, ids, use_cache=False))
        window, position = (at.to(model.device, non_blocking=True) for at in (batch.row >= 0).nonzero(as_tuple=True))
        where = window, position
        for layer in layers:
            seen = record.layers[layer]
            used = [g.sum(1).double() for g in seen.routing_at(where).dense()]  # (tokens, keys)
            hidden = model.model.layers[layer].moe.hidden(seen.x[where])
            for side, units in enumerate([hidden] if isinstance(hidden, Tensor) else hidden):
                sums = torch.einsum("tk,tku->ku", used[side], units.double())
                totals[layer, side] = totals.get((layer, side), 0) + sums
            if layer == first:
                weights += torch.stack([g.sum(0) for g in used])
        advance(len(position))
    parts = []
    for layer in layers:
        moe = model.model.layers[layer].moe
        means = [totals[at] / weights[at[1], :, None].clamp(min=1e-30) for at in sorted(totals) if at[0] == layer]
        parts += moe.output_parts(means)
    squares = torch.stack([part.squares() for part in parts]).sum(0)
    return OutputDirections(parts, squares, (weights[0] > 0)[:, None] & (weights[1] > 0))
