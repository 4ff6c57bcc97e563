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
    sums = torch.zeros(1 if marked is None else 2, 3, windows.documents, dtype=torch.float64)
    for batch in windows.batches:
        logits = model(batch.ids.to(model.device), use_cache=False).logits[:, :-1]
        following = batch.ids[:, 1:].to(model.device)
        loss = cross_entropy(logits.flatten(0, 1).float(), following.flatten(), reduction="none")
        loss = loss.view_as(following).cpu()
        hit = (logits.argmax(-1) == following).cpu()
        counted = batch.predicted
        parts = [counted]
        if marked is not None:
            at = batch.row[:, :-1]
            here = (at >= 0) & marked[at.clamp(min=0)]
            parts = [counted & here, counted & ~here]
        for part, chosen in zip(sums, parts, strict=True):
            for row, values in enumerate((loss, hit, counted)):
                part[row].index_add_(0, batch.document, torch.where(chosen, values.double(), 0.0).sum(1))
        advance(int(counted.sum()))
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
