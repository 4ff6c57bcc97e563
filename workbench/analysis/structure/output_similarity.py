"""How alike the outputs of experts are: what each writes on average, compared without writing it out for all."""

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

from ...errors import WorkbenchError
from ...progress import Progress, silent
from ...store.address import shared_key
from ..checks import check_same_model
from ..windows import read_windows

if TYPE_CHECKING:
    from monet_model import MonetForCausalLM

    from ...store import Run

TOKENS = 20_000  # that the hidden units are averaged over, at most one document more


@dataclass(frozen=True)
class OutputDirections:
    """What every expert of a group writes on average, in the layers of the group.

    An expert's output rests on its hidden units, and those on the token. Here each hidden unit has its mean activation
    over the tokens at which its key is used, weighted by the key's probability; the output at these means stands for
    the expert. That is an approximation: tokens at which the key is used with other keys count too.

    Attributes:
        parts: of all layers of the group.
        squares: (keys, keys) squared lengths, over all parts.
        used: (keys, keys) whether both keys of an expert were used at the tokens read.
    """

    parts: list[OutputPart]
    squares: Tensor
    used: Tensor

    def cosines(self, expert: int) -> np.ndarray:
        """Cosine of an expert's mean output with that of each expert, over all layers of the group: (E * E,).

        By products of the keys' own matrices: no expert's output but the one asked for is formed. NaN where a key was
        not used.

        Raises:
            WorkbenchError: there is no such expert.
        """
        keys = len(self.squares)
        if not 0 <= expert < keys**2:
            raise WorkbenchError(f"there is no expert {expert}; ids run from 0 to {keys**2 - 1}.")
        i, j = divmod(expert, keys)
        dots = torch.stack([part.dots(part.vector(i, j)) for part in self.parts]).sum(0)
        lengths = self.squares.clamp(min=0).sqrt()
        known = self.used & self.used[i, j] & (lengths * lengths[i, j] > 0)
        return torch.where(known, dots / (lengths * lengths[i, j]), torch.nan).clamp(-1, 1).flatten().numpy()

    def similar(self, expert: int, n: int) -> pd.DataFrame:
        """The experts whose outputs are most like an expert's: expert, cosine and shared (``row``, ``column``, "")."""
        cosine = self.cosines(expert)
        cosine[expert] = np.nan
        best = np.argsort(-cosine, kind="stable")[: min(n, int((~np.isnan(cosine)).sum()))]
        shared = shared_key(best, expert, len(self.squares))
        return pd.DataFrame({"expert": best, "cosine": cosine[best], "shared": shared})


@torch.inference_mode()
def output_directions(
    run: Run, model: MonetForCausalLM, group: int, seed: int = 0, advance: Progress = silent
) -> OutputDirections:
    """Measures :class:`OutputDirections` over documents drawn at random, until they have :data:`TOKENS` tokens.

    Args:
        run: an opened run.
        model: the model it was exported from, in evaluation mode.
        group: of the experts.
        seed: of the draw.
        advance: called with the tokens read since its last call.

    Raises:
        NotFoundError: the run has no such group.
        UnsupportedError: the model is not the run's.
    """
    first = run.group_layers[run.check_group(group)]
    check_same_model(run, model)
    drawn = run.documents[run.documents["tokens"] > 0].sample(frac=1, random_state=seed)
    drawn = drawn[drawn["tokens"].cumsum() - drawn["tokens"] < TOKENS]
    layers = range(first, min(first + model.config.moe_groups, model.config.num_hidden_layers))
    keys = run.num_keys
    totals: dict[tuple[int, int], Tensor] = {}  # sums of a layer's activations at the keys of a set
    weights = torch.zeros(2, keys, dtype=torch.float64)
    for batch in read_windows(run, drawn).batches:
        record, _ = record_pass(model, partial(model.model, batch.ids.to(model.device), use_cache=False))
        counted = batch.row >= 0
        for layer in layers:
            seen = record.layers[layer]
            used = [g.sum(1).double() for g in seen.routing_at(counted).dense()]  # (tokens, keys)
            hidden = model.model.layers[layer].moe.hidden(seen.x[counted])
            for side, units in enumerate([hidden] if isinstance(hidden, Tensor) else hidden):
                sums = torch.einsum("tk,tku->ku", used[side], units.double())
                totals[layer, side] = totals.get((layer, side), 0) + sums
            if layer == first:
                weights += torch.stack([g.sum(0) for g in used])
        advance(int(counted.sum()))
    parts = []
    for layer in layers:
        moe = model.model.layers[layer].moe
        means = [totals[at] / weights[at[1], :, None].clamp(min=1e-30) for at in sorted(totals) if at[0] == layer]
        parts += moe.output_parts(means)
    squares = torch.stack([part.squares() for part in parts]).sum(0)
    return OutputDirections(parts, squares, (weights[0] > 0)[:, None] & (weights[1] > 0))
