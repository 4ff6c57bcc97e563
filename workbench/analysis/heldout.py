"""Two disjoint parts of a run's documents: experts are chosen on one and their removal is measured on the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy

from ..errors import WorkbenchError
from .analyze import check_labels
from .sums import LEFT_OUT, LabelSums, label_sums
from .windows import Windows, read_windows

if TYPE_CHECKING:
    from monet_model import MonetForCausalLM
    from monet_model.routing import Routing

    from ..store import Run

CHOOSING = 3  # tokens that choose for each that measures: a rule needs more evidence than a mean loss does
ROUTING_ROWS = 4096  # token rows of sparse routing read at once


def split_documents(label: NDArray[np.integer], tokens: NDArray[np.integer], seed: int) -> NDArray[np.bool_]:
    """Which documents measure; the others choose.

    The documents of each label are shuffled and dealt, one by one: the first chooses, and each later one measures where
    the measuring part has fewer than a third of the choosing part's tokens so far. So each part has documents of every
    label that has two, and the measuring part has about a quarter of the label's tokens.

    Args:
        label: (documents,) label numbers.
        tokens: (documents,) their tokens.
        seed: of the shuffle.
    """
    measures = np.zeros(len(label), bool)
    order = np.random.default_rng(seed).permutation(len(label))
    dealt: dict[int, list[int]] = {}
    for document in order:
        parts = dealt.setdefault(int(label[document]), [0, 0])
        part = int(CHOOSING * parts[1] < parts[0])
        parts[part] += int(tokens[document])
        measures[document] = bool(part)
    return measures


@dataclass(frozen=True)
class HeldOut:
    """A run's documents, split.

    Attributes:
        run: the run.
        documents: its documents that have tokens and routing, with columns doc, label (number of the label), row,
            tokens, bos and measures (whether it is one of the measuring part).
    """

    run: Run
    documents: pd.DataFrame

    @classmethod
    def split(cls, run: Run, seed: int) -> HeldOut:
        """Splits a run's documents, those whose routing it holds, as :func:`split_documents` does.

        Raises:
            WorkbenchError: the run has one label, or a label has fewer than two such documents with two tokens or more.
        """
        check_labels(run)
        table = run.documents.query("tokens > 1 and kept").reset_index(drop=True)
        numbers = {label: number for number, label in enumerate(run.labels)}
        label = table["label"].astype(object).map(numbers).to_numpy(np.int64)
        for name, number in numbers.items():
            if (label == number).sum() < 2:
                raise WorkbenchError(
                    f"label {name!r} of {run.path} has fewer than two documents of two tokens or more with routing "
                    "kept: one part of them chooses experts and another measures. Export more documents, or keep more "
                    "routing."
                )
        measures = split_documents(label, table["tokens"].to_numpy(), seed)
        return cls(run, table[["doc", "row", "tokens", "bos"]].assign(label=label, measures=measures))

    def choosing_sums(self, group: int) -> LabelSums:
        """Mass and active tokens of every expert by label over the choosing part, from the stored routing.

        Stored probabilities are in half precision, so masses are good to about 3 decimal digits.
        """
        choosing = self.choosing
        number = np.full(self.run.tokens_total, LEFT_OUT, np.int64)
        for row, tokens, label in zip(choosing["row"], choosing["tokens"], choosing["label"], strict=True):
            number[row : row + tokens] = label

        def parts() -> Iterator[tuple[Routing, NDArray[np.integer]]]:
            for start in range(0, len(number), ROUTING_ROWS):
                rows = start + np.flatnonzero(number[start : start + ROUTING_ROWS] != LEFT_OUT)
                if len(rows):
                    yield self.run.routing(rows, group), number[rows]

        return label_sums(parts(), self.run.num_keys, len(self.run.labels))

    @property
    def choosing(self) -> pd.DataFrame:
        """The documents of the choosing part."""
        return self.documents[~self.documents["measures"]].reset_index(drop=True)

    @property
    def measuring(self) -> pd.DataFrame:
        """The documents of the measuring part."""
        return self.documents[self.documents["measures"]].reset_index(drop=True)

    def measuring_windows(self) -> Windows:
        """The measuring part as the model reads it; documents are numbered as in ``measuring``."""
        return read_windows(self.run, self.measuring)


@dataclass(frozen=True)
class Losses:
    """How well a model predicts documents.

    Attributes:
        loss: (documents,) sum of the cross entropy of its predicted tokens, in nats.
        hits: (documents,) predicted tokens that the model ranks first.
        tokens: (documents,) predicted tokens.
    """

    loss: NDArray[np.float64]
    hits: NDArray[np.float64]
    tokens: NDArray[np.float64]

    def mean_loss(self, label: NDArray[np.integer]) -> NDArray[np.float64]:
        """Loss by label, (labels,), in nats a predicted token, for the label number of each document."""
        return np.bincount(label, self.loss) / np.bincount(label, self.tokens)

    def accuracy(self, label: NDArray[np.integer]) -> NDArray[np.float64]:
        """Share of predicted tokens ranked first, by label, (labels,)."""
        return np.bincount(label, self.hits) / np.bincount(label, self.tokens)


@torch.inference_mode()
def window_losses(model: Any, windows: Windows, report: Callable[[int], None] = lambda tokens: None) -> Losses:
    """Next-token losses of documents.

    Args:
        model: a causal language model of transformers, in evaluation mode.
        windows: the documents.
        report: called with the tokens predicted since its last call.
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
        report(int(real.sum()))
    return Losses(*(row.numpy() for row in sums))


def document_losses(
    model: MonetForCausalLM,
    windows: Windows,
    edits: Mapping[int, Tensor],
    report: Callable[[int], None] = lambda tokens: None,
) -> Losses:
    """Next-token losses of documents under an edit of experts.

    Args:
        model: in evaluation mode.
        windows: the documents.
        edits: as ``model.edit_experts`` takes them; empty for the model as it is.
        report: called with the tokens predicted since its last call.
    """
    with model.edit_experts(edits):
        return window_losses(model, windows, report)
