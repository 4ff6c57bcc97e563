"""Next-token losses of documents, for a model as it is or under an edit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy

from ...progress import Progress, silent
from ..windows import Windows

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from monet_model import MonetForCausalLM


@dataclass(frozen=True)
class DocumentLosses:
    """How well a model predicts each of a number of documents.

    Attributes:
        loss: (documents,) sum of the cross entropy over its predicted tokens, nats.
        hits: (documents,) predicted tokens that the model ranks first.
        tokens: (documents,) predicted tokens.
    """

    loss: NDArray[np.float64]
    hits: NDArray[np.float64]
    tokens: NDArray[np.float64]

    def mean_loss(self, label: NDArray[np.integer]) -> NDArray[np.float64]:
        """(labels,) loss per label, nats per token, for the label number of each document."""
        return np.bincount(label, self.loss) / np.bincount(label, self.tokens)

    def accuracy(self, label: NDArray[np.integer]) -> NDArray[np.float64]:
        """(labels,) fraction of predicted tokens ranked first, for the label number of each document."""
        return np.bincount(label, self.hits) / np.bincount(label, self.tokens)


def window_losses(model: PreTrainedModel, windows: Windows, advance: Progress = silent) -> DocumentLosses:
    """Next-token losses of documents under a model as it is.

    Args:
        model: a causal language model of transformers, in evaluation mode.
        windows: the documents.
        advance: called with the tokens predicted since its last call.
    """
    return _sums(model, windows, None, advance)[0]


@torch.inference_mode()
def _sums(
    model: PreTrainedModel, windows: Windows, marked: Tensor | None, advance: Progress
) -> tuple[DocumentLosses, ...]:
    """Losses of all predictions; with ``marked``, first of those made at marked token rows, then of the others."""
    by_window = []  # a GPU goes on to the next batch: what it found is fetched when all are read
    for batch in windows.batches:
        ids = batch.ids.to(model.device, non_blocking=True)
        logits, following = model(ids, use_cache=False).logits[:, :-1], ids[:, 1:]
        loss = cross_entropy(logits.flatten(0, 1).float(), following.flatten(), reduction="none").view_as(following)
        hit = logits.argmax(-1) == following
        counted = batch.predicted
        parts = [counted]
        if marked is not None:
            at = batch.row[:, :-1]
            here = (at >= 0) & marked[at.clamp(min=0)]
            parts = [counted & here, counted & ~here]
        for chosen in parts:
            there = chosen.to(model.device, non_blocking=True)
            found = [torch.where(there, values.double(), 0.0).sum(1) for values in (loss, hit, there)]
            by_window.append(torch.stack(found))
        advance(int(counted.sum()))
    kinds = 1 if marked is None else 2
    sums = torch.zeros(kinds, 3, windows.documents, dtype=torch.float64)
    for number, fetched in enumerate(map(Tensor.cpu, by_window)):
        sums[number % kinds].index_add_(1, windows.batches[number // kinds].document, fetched)
    return tuple(DocumentLosses(*(row.numpy() for row in part)) for part in sums)


def document_losses(
    model: MonetForCausalLM,
    windows: Windows,
    edits: Mapping[int, Tensor],
    advance: Progress = silent,
) -> DocumentLosses:
    """Next-token losses of documents under an edit of experts.

    Args:
        model: in evaluation mode.
        windows: the documents.
        edits: as ``model.edit_experts`` takes them; empty for the model as it is.
        advance: called with the tokens predicted since its last call.
    """
    with model.edit_experts(edits):
        return window_losses(model, windows, advance)


def split_losses(
    model: MonetForCausalLM,
    windows: Windows,
    edits: Mapping[int, Tensor],
    marked: NDArray[np.bool_],
    advance: Progress = silent,
) -> tuple[DocumentLosses, DocumentLosses]:
    """Next-token losses of documents under an edit, at some tokens and at the others.

    Args:
        model: in evaluation mode.
        windows: the documents.
        edits: as ``model.edit_experts`` takes them; empty for the model as it is.
        marked: (token rows of the run,) True where what the model expects next is summed apart.
        advance: called with the tokens predicted since its last call.

    Returns:
        The losses of the tokens that follow marked ones, and of all others.
    """
    with model.edit_experts(edits):
        at, others = _sums(model, windows, torch.from_numpy(marked), advance)
    return at, others
