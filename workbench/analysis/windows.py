"""A run's documents as the model reads them: context windows, in batches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

if TYPE_CHECKING:
    from ..store import Run

BATCH_TOKENS = 2048  # tokens of a forward pass


@dataclass(frozen=True)
class Batch:
    """Windows padded on the right, where causal attention does not look from.

    Attributes:
        ids: (windows, tokens) token ids.
        real: (windows, tokens) False at padding.
        document: (windows,) number of the document of each.
        row: (windows, tokens) token row in the run; -1 at padding and at control tokens.
    """

    ids: Tensor
    real: Tensor
    document: Tensor
    row: Tensor

    @property
    def predicted(self) -> Tensor:
        """(windows, tokens - 1) which tokens from the second on a loss counts: neither padding nor control tokens."""
        return self.row[:, 1:] >= 0


@dataclass(frozen=True)
class Windows:
    """Documents cut into context windows, batched by length.

    Attributes:
        documents: how many documents there are, numbered from 0.
        batches: the windows, longest first.
    """

    documents: int
    batches: list[Batch]

    @property
    def predicted(self) -> int:
        """Tokens that a model predicts in them: all token rows but those that open a window."""
        return sum(int(batch.predicted.sum()) for batch in self.batches)

    @property
    def tokens(self) -> int:
        """Tokens that a model reads in them."""
        return sum(int(batch.real.sum()) for batch in self.batches)


def read_windows(run: Run, documents: pd.DataFrame) -> Windows:
    """The windows that the export read of some documents: of the manifest's size, each read from position 0.

    Args:
        run: the run.
        documents: with a column doc, as ``run.documents`` has it.
    """
    windows: list[tuple[int, NDArray[np.int64], NDArray[np.int64]]] = []
    for number, doc in enumerate(documents["doc"]):
        windows += [(number, *window) for window in run.windows_of(int(doc))]
    windows.sort(key=lambda window: -len(window[1]))
    batches = []
    while windows:
        size = max(1, BATCH_TOKENS // len(windows[0][1]))
        some, windows = windows[:size], windows[size:]
        batches.append(
            Batch(
                ids=_pad([ids for _, ids, _ in some], 0),
                real=_pad([np.ones(len(ids), bool) for _, ids, _ in some], False),
                document=torch.tensor([number for number, _, _ in some]),
                row=_pad([rows for _, _, rows in some], -1),
            )
        )
    return Windows(len(documents), batches)


def _pad(rows: list[np.ndarray], filler: int) -> Tensor:
    return pad_sequence([torch.from_numpy(row) for row in rows], batch_first=True, padding_value=filler)
