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


@torch.inference_mode()
def window_losses(model: PreTrainedModel, windows: Windows, advance: Progress = silent) -> DocumentLosses:
    """Next-token losses of documents under a model as it is.

    Args:
        model: a causal language model of transformers, in evaluation mode.
        windows: the documents.
        advance: called with the tokens predicted since its last call.
    """
    sums = torch.zeros(3, windows.documents, dtype=torch.float64)
    for batch in windows.batches:
        logits = model(batch.ids.to(model.device), use_cache=False).logits[:, :-1]
        following = batch.ids[:, 1:].to(model.device)
        loss = cross_entropy(logits.flatten(0, 1).float(), following.flatten(), reduction="none")
        loss = loss.view_as(following).cpu()
        hit = (logits.argmax(-1) == following).cpu()
        real = batch.real[:, 1:]
        for row, values in enumerate((loss, hit, real)):
            sums[row].index_add_(0, batch.document, torch.where(real, values.double(), 0.0).sum(1))
        advance(int(real.sum()))
    return DocumentLosses(*(row.numpy() for row in sums))


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
