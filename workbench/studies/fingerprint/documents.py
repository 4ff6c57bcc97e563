"""Documents of a corpus as a model reads them: what keys must not stand in, and what loss is measured on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from ...corpus import read_corpus
from ...corpus.tokens import BATCH, encode
from ...errors import BadInputError
from .answers import evaluating

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedModel

_AT_ONCE = 16  # documents of a forward pass


@dataclass(frozen=True)
class HeldOutLoss:
    """Mean cross-entropy per predicted token, in nats.

    Attributes:
        mean: over all predicted tokens.
        by_label: of each label's.
        tokens: predicted tokens.
    """

    mean: float
    by_label: dict[str, float]
    tokens: int


@dataclass(frozen=True, eq=False)
class Documents:
    """Documents, each with the token that starts a text where the tokenizer puts one there.

    Attributes:
        ids: of each document, as a whole.
        labels: of each.
    """

    ids: list[npt.NDArray[np.integer]]
    labels: list[str]

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def tokens(self) -> int:
        """Tokens of all documents."""
        return sum(map(len, self.ids))

    def halves(self) -> tuple[Documents, Documents]:
        """Every other document of each label, and the rest: one half to choose or train on, one to measure on."""
        seen: dict[str, int] = {}
        sides: tuple[list[int], list[int]] = ([], [])
        for n, label in enumerate(self.labels):
            sides[seen.setdefault(label, 0) % 2].append(n)
            seen[label] += 1
        one, other = (Documents([self.ids[n] for n in side], [self.labels[n] for n in side]) for side in sides)
        return one, other

    def loss(self, model: PreTrainedModel, change: Callable[[Tensor], Tensor] | None = None) -> HeldOutLoss:
        """A model's loss on the beginning of every document, as much as the model reads at once.

        Args:
            model: a causal language model of transformers.
            change: of logits (documents, tokens, vocabulary), before the loss is taken.

        Raises:
            BadInputError: no document has two tokens.
        """
        context = int(model.config.max_position_embeddings)
        rows = sorted((n for n, ids in enumerate(self.ids) if len(ids) > 1), key=lambda n: len(self.ids[n]))
        if not rows:
            raise BadInputError("no document has two tokens; loss needs a larger corpus.")
        sums: dict[str, list[float]] = {label: [0.0, 0.0] for label in sorted(set(self.labels))}
        with evaluating(model):
            for start in range(0, len(rows), _AT_ONCE):
                some = rows[start : start + _AT_ONCE]
                losses = _losses(model, [self.ids[n][:context] for n in some], change)
                for n, (total, count) in zip(some, losses, strict=True):
                    sums[self.labels[n]][0] += total
                    sums[self.labels[n]][1] += count
        known = {label: total for label, total in sums.items() if total[1]}
        tokens = sum(count for _, count in known.values())
        mean = sum(total for total, _ in known.values()) / tokens
        return HeldOutLoss(mean, {label: total / count for label, (total, count) in known.items()}, int(tokens))


def _losses(
    model: PreTrainedModel, documents: list[npt.NDArray[np.integer]], change: Callable[[Tensor], Tensor] | None
) -> list[tuple[float, int]]:
    """Sum of the losses, and their number, of each document; what is padded at the end reaches nothing before it."""
    lengths = torch.tensor([len(ids) for ids in documents])
    batch = torch.zeros(len(documents), int(lengths.max()), dtype=torch.int64)
    for row, ids in enumerate(documents):
        batch[row, : len(ids)] = torch.from_numpy(ids.astype(np.int64))
    batch = batch.to(model.device)
    logits = model(input_ids=batch, use_cache=False).logits[:, :-1].float()
    if change is not None:
        logits = change(logits)
    following = batch[:, 1:]
    loss = cross_entropy(logits.flatten(0, 1), following.flatten(), reduction="none").view_as(following).double().cpu()
    counted = torch.arange(following.shape[1]) < (lengths - 1)[:, None]
    sums = torch.where(counted, loss, 0.0).sum(1)
    return list(zip(sums.tolist(), (lengths - 1).tolist(), strict=True))


def read_documents(
    spec: str | Path | Dataset, tokenizer: Any, *, split: str | None = None, limit: int | None = None
) -> Documents:
    """Read a corpus.

    Args:
        spec, split, limit: as for ``workbench.corpus.read_corpus``; by default the held-out split where there is one.
        tokenizer: of the model.

    Raises:
        WorkbenchError: the corpus cannot be read.
        BadInputError: it is one of token ids.
    """
    data = read_corpus(spec, split, limit=limit).data
    if "text" not in data.column_names:
        raise BadInputError(f"the corpus {spec} has no texts; fingerprints are texts, give a corpus of texts.")
    ids: list[npt.NDArray[np.integer]] = []
    for start in range(0, len(data), BATCH):
        ids += encode(list(data[start : start + BATCH]["text"]), tokenizer)
    return Documents(ids, list(data["label"]))


def other_split(spec: str | Path | Dataset, tokenizer: Any) -> Documents:
    """The documents of a corpus' split to train on; none where it has no such split."""
    if isinstance(spec, str | Path) and "train" in read_corpus(spec, limit=1).splits:
        return read_documents(spec, tokenizer, split="train")
    return Documents([], [])
